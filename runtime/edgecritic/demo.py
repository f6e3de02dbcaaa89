"""The pictures that come with edgecritic, and what is asked and answered about them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edgecritic.errors import ArtifactError

CASES = "cases.toml"


@dataclass(frozen=True, slots=True)
class DemoCase:
    """One picture with a question and two answers, one of them right.

    Attributes:
        title: what the picture shows, in a few words.
        image: its file.
        question: about the picture.
        responses: two answers.
        right: index of the right one.
    """

    title: str
    image: Path
    question: str
    responses: tuple[str, str]
    right: int


def demo_cases(folder: Path | None = None) -> tuple[DemoCase, ...]:
    """The cases that a folder's ``cases.toml`` lists.

    Args:
        folder: of pictures and cases; the package's own when left out.

    Raises:
        ArtifactError: the list or a picture is missing, or the list is not as it should be.
    """
    folder = folder or Path(str(files("edgecritic") / "demo_images"))
    try:
        listed = tomllib.loads((folder / CASES).read_text(encoding="utf-8"))
        return tuple(_case(folder, entry) for entry in listed["case"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the demo's {folder / CASES} cannot be used: {error!r}", "install edgecritic again"
        ) from error


def _case(folder: Path, entry: dict[str, object]) -> DemoCase:
    image = folder / str(entry["image"])
    if not image.is_file():
        raise ValueError(f"{image.name} is missing")
    responses, right = entry["responses"], entry["right"]
    if not isinstance(responses, list) or len(responses) != 2 or right not in (0, 1):
        raise ValueError(f"{image.name} needs two responses, and right = 0 or 1")
    first, second = map(str, responses)
    return DemoCase(
        str(entry["title"]), image, str(entry["question"]), (first, second), int(str(right))
    )
