"""Small pieces of English: articles, lists, numbers, and question wordings by split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecritic_train.data.dice import pick
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import held_out_wording

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class Wordings:
    """Ways to ask one thing, with named slots; split T4 gets the held-out ones."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]

    def ask(self, setting: Setting, **slots: str) -> str:
        """One wording with its slots filled."""
        wordings = self.held_out if held_out_wording(setting.split) else self.seen
        return pick(setting.rng, wordings).format(**slots)


def with_article(noun: str) -> str:
    """A noun or numeral after "a" or "an", by its sound."""
    vowel = noun[0].lower() in "aeiou" or noun[0] == "8" or noun in ("11", "18")
    if noun.startswith(("uni", "one", "eu", "us")):
        vowel = False
    return f"{'an' if vowel else 'a'} {noun}"


def listed(names: Sequence[str]) -> str:
    """Names with commas and a last "and"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
