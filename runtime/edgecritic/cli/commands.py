"""Commands of other packages, found by their entry points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points

from edgecritic.errors import CriticError, MissingExtraError

GROUP = "edgecritic.commands"


def installed() -> dict[str, EntryPoint]:
    """Commands that installed packages add, by name."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=_by_name)}


def _by_name(point: EntryPoint) -> str:
    return point.name


def run(point: EntryPoint, argv: Sequence[str]) -> int:
    """Run a command with the arguments behind its name.

    Raises:
        MissingExtraError: it needs a package that is not installed.
        CriticError: what the entry point names is no command.
    """
    try:
        command: Callable[[Sequence[str]], int] = point.load()
    except ImportError as error:
        package = point.dist.name if point.dist else "the package"
        wanted = f"'{package}[{point.name}]'" if package == "edgecritic" else package
        raise MissingExtraError(
            f"the command {point.name!r} cannot be loaded: {error}",
            f"install what it needs: pip install {wanted}",
        ) from error
    except AttributeError as error:
        raise CriticError(
            f"the command {point.name!r} cannot be loaded: {error}",
            f"its package is broken: {point.value}",
        ) from error
    return command(argv)
