"""Values of an image geometry's JSON, checked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_names(data: Mapping[str, object], names: set[str]) -> None:
    """Check that exactly these fields are there.

    Raises:
        ValueError: one is missing or unknown.
    """
    if set(data) != names:
        missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
        raise ValueError(f"missing fields {missing}, unknown fields {unknown}")


def integer(name: str, value: object) -> int:
    """A whole number.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, not {value!r}")
    return value


def items(name: str, value: object) -> list[Any]:
    """A list.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {value!r}")
    return value


def channels(name: str, value: object) -> tuple[float, float, float]:
    """Three numbers, of red, green and blue.

    Raises:
        ValueError: they are not.
    """
    numbers = items(name, value)
    real = [v for v in numbers if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != 3 or len(real) != 3:
        raise ValueError(f"{name} must be three numbers, not {value!r}")
    return float(real[0]), float(real[1]), float(real[2])
