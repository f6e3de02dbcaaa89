"""One walk over files of rows that finds all that can be found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecritic.errors import CriticError, ImageError
from edgecritic.prompts import Dialect
from edgecritic_train.critic_data.rendering import render_row
from edgecritic_train.critic_data.rows import CriticRow, scan_rows
from edgecritic_train.critic_data.validation.balance import balance
from edgecritic_train.critic_data.validation.facts import RowFacts, image_keys
from edgecritic_train.critic_data.validation.findings import Findings, Kind
from edgecritic_train.critic_data.validation.lengths import BaseTokens
from edgecritic_train.critic_data.validation.pictures import PictureFacts, inspect, inspect_all
from edgecritic_train.critic_data.validation.repeats import repeats
from edgecritic_train.critic_data.validation.texts import text_findings

BAD_ROW = Kind("bad-row", "error", "a line is no row", "correct the line or leave it out")
BAD_IMAGE = Kind("bad-image", "error", "a picture cannot be read", "fetch it again")
NO_IMAGE = Kind("no-image", "note", "a row has no picture", "legal; see that it is meant")
UNASKED = Kind(
    "cannot-be-asked", "error", "a row cannot be rendered in this dialect", "leave it out"
)
TOO_LONG = Kind(
    "too-long",
    "error",
    "prompt, pictures and answer take more tokens than fit",
    "shrink the pictures or their pixel cap, leave the rows out, or raise --max-length",
)
NOT_COUNTED = Kind(
    "lengths-unknown",
    "note",
    "token lengths were not counted",
    "name the base model: --base",
)
NO_ROWS = Kind("no-rows", "error", "there are no rows to train on", "check the file and its splits")


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What to check by.

    Attributes:
        dialect: of the prompts.
        base: counts tokens; None leaves lengths uncounted.
        max_length: tokens that fit; the base's own limit when left out.
        workers: pictures that are decoded at once.
    """

    dialect: Dialect
    base: BaseTokens | None = None
    max_length: int | None = None
    workers: int = 4


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        findings: by kind.
        summary: JSON-ready numbers.
    """

    findings: Findings
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """No error was found."""
        return self.findings.n_errors == 0


def check(files: Sequence[Path], options: CheckOptions) -> Report:
    """Check the rows of all files together.

    Raises:
        InputError: a file cannot be read at all.
    """
    findings = Findings()
    rows, pictures = _read(files, options, findings)
    for key, facts in pictures.items():
        if facts.error:
            users = [row.place for row in rows if key in row.images]
            findings.add(BAD_IMAGE, f"{users[0]}: {facts.error} ({len(users)} rows)")
    if not any(row.split == "train" for row in rows):
        findings.add(NO_ROWS, ", ".join(map(str, files)))
    summary = {
        "files": [str(path) for path in files],
        "rows": len(rows),
        "splits": dict(sorted(Counter(row.split for row in rows).items())),
        "settings": dict(sorted(Counter(row.setting for row in rows).items())),
        "sources": dict(sorted(Counter(row.source for row in rows).items())),
        "pictures": len(pictures),
        "balance": balance(rows, findings),
        "repeats": repeats(rows, pictures, findings),
        "tokens": _lengths(rows, pictures, options, findings),
    }
    return Report(findings, summary)


def _read(
    files: Sequence[Path], options: CheckOptions, findings: Findings
) -> tuple[list[RowFacts], dict[str, PictureFacts]]:
    rows: list[RowFacts] = []
    pictures: dict[str, PictureFacts] = {}
    paths: dict[str, Path] = {}
    for path in files:
        for number, row in scan_rows(path):
            place = f"{path}:{number}"
            if isinstance(row, CriticError):
                findings.add(BAD_ROW, row.message)
                continue
            for key, source in zip(image_keys(row), row.image_sources, strict=True):
                if isinstance(source, Path):
                    paths.setdefault(key, source)
                elif key not in pictures:
                    pictures[key] = inspect(source)
            rows.append(_facts(place, row, options, findings))
    pictures.update(inspect_all(paths.items(), options.workers))
    return rows, pictures


def _facts(place: str, row: CriticRow, options: CheckOptions, findings: Findings) -> RowFacts:
    for kind in text_findings(row):
        findings.add(kind, f"{place}: {row.id}")
    if not row.images:
        findings.add(NO_IMAGE, f"{place}: {row.id}")
    n_tokens = None
    try:
        rendered = render_row(row, options.dialect)
    except CriticError as error:
        findings.add(UNASKED, f"{place}: {error.message}")
    else:
        n_tokens = None if options.base is None else options.base.text(rendered)
    return RowFacts.of(place, row, n_tokens)


def _lengths(
    rows: Sequence[RowFacts],
    pictures: Mapping[str, PictureFacts],
    options: CheckOptions,
    findings: Findings,
) -> dict[str, Any] | None:
    base = options.base
    if base is None:
        findings.add(NOT_COUNTED, f"{len(rows):,} rows")
        return None
    limit = options.max_length or base.folder.context
    totals: list[int] = []
    for row in rows:
        sizes = [pictures[key].size for key in row.images]
        known = [size for size in sizes if size is not None]
        if row.n_tokens is None or len(known) < len(sizes):
            continue
        try:
            n_image = base.pictures(known)
        except ImageError as error:
            findings.add(BAD_IMAGE, f"{row.place}: {error.message}")
            continue
        totals.append(row.n_tokens + n_image)
        if limit is not None and totals[-1] > limit:
            where = f"{row.place}: {totals[-1]:,} tokens, {n_image:,} of them of pictures"
            findings.add(TOO_LONG, f"{where}; {limit:,} fit")
    if not totals:
        return {"limit": limit, "rows": 0}
    median, high, longest = np.percentile(totals, [50, 95, 100])
    return {
        "limit": limit,
        "rows": len(totals),
        "median": int(median),
        "95%": int(high),
        "longest": int(longest),
        "total": int(sum(totals)),
    }
