"""Families of manipulation: templates that turn a wrong response into one that tries to win."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

_SLOT = re.compile(r"\{(\w+)\}")
_ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Family:
    """One way to manipulate.

    Attributes:
        name: of the family.
        about: what it does.
        templates: texts with slots in braces; ``{answer}`` takes the response.
        slots: what else may stand in a slot.
    """

    name: str
    about: str
    templates: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]

    def apply(self, answer: str, template: int, rng: random.Random) -> str:
        """Manipulate a response.

        Args:
            answer: the response.
            template: number of the template, taken modulo how many there are.
            rng: draws what goes into the other slots, anew for each.
        """

        def filled(match: re.Match[str]) -> str:
            return answer if match[1] == _ANSWER else rng.choice(self.slots[match[1]])

        text = self.templates[template % len(self.templates)]
        # Doubled braces are braces of the text itself.
        marked = text.replace("{{", "\0").replace("}}", "\1")
        return _SLOT.sub(filled, marked).replace("\0", "{").replace("\1", "}")


@lru_cache(maxsize=1)
def families() -> Mapping[str, Family]:
    """All families by name, in the order of their file."""
    text = (files("edgecritic_bench.robustness") / "families.toml").read_text(encoding="utf-8")
    found = {}
    for name, entry in tomllib.loads(text).items():
        slots = {key: tuple(v) for key, v in entry.items() if key not in ("about", "templates")}
        found[name] = Family(name, entry["about"], tuple(entry["templates"]), slots)
    return MappingProxyType(found)
