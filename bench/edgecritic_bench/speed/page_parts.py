"""Parts of a page that are of one engine alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from edgecritic_bench.markdown import table
from edgecritic_bench.speed import figures
from edgecritic_bench.speed.rows import Row, Rows

_NOT: Final = "Not measured."


def rates(rows: Rows) -> str:
    """Tokens a second of ours, of a plain loop, and the most that the machine could do."""
    found = figures.rates(rows)
    if not {"edgecritic", "plain"} <= found.keys():
        return _NOT
    lines = []
    for n, (ours, plain) in enumerate(zip(found["edgecritic"], found["plain"], strict=True)):
        for name in ("prefill", "decode"):
            if name in ours and name in plain:
                lines.append(
                    [
                        f"{name}, prompt of {plain['prompt']:,.0f}",
                        f"{ours[name]:,.0f}",
                        f"{plain[name]:,.0f}",
                        _share(figures.share(rows, n, name)),
                        _limit(rows, name),
                    ]
                )
    heads = ["tokens a second", "edgecritic", "plain loop", "share", "limit"]
    return table(heads, lines) + _limits(rows) + _whole(found["edgecritic"])


def _share(ratio: figures.Ratio) -> str:
    spread = f" ({ratio.low:.1%} to {ratio.high:.1%})" if ratio.n > 1 else ""
    return f"{ratio.median:.1%}{spread}"


def _whole(ours: Sequence[Mapping[str, float]]) -> str:
    said = [f"{one['whole']:,.0f} behind {one['prompt']:,.0f}" for one in ours if "whole" in one]
    return (
        "\n\nReasons as a whole, with what is read between verdict and reason and with their ends, "
        f"came at {' and '.join(said)} tokens."
        if said
        else ""
    )


def _limit(rows: Rows, name: str) -> str:
    """Bandwidth by the bytes of a token, or operations by two for each weight of it."""
    measured = [row for row in rows.of("limits") if "machine" in row]
    if not measured:
        return "?"
    machine, token = measured[-1]["machine"], measured[-1]["token"]
    if name == "decode":
        return f"{machine['bandwidth'] / token['bytes']:,.0f}"
    return f"{machine['operations'] / (2 * token['weights']):,.0f}"


def _limits(rows: Rows) -> str:
    measured = [row for row in rows.of("limits") if "machine" in row]
    if not measured:
        return ""
    machine, token = measured[-1]["machine"], measured[-1]["token"]
    return (
        f"\n\nLimits from what this machine reached in torch ({machine['device']}): "
        f"{machine['bandwidth'] / 1e9:,.0f} GB/s in a large copy, "
        f"{machine['operations'] / 1e12:,.2f} TFLOP/s in a large product. A token of one sequence "
        f"reads {token['bytes'] / 1e6:,.0f} MB of weights and multiplies with "
        f"{token['weights'] / 1e9:,.2f} billion of them."
    )


def rationales(rows: Rows, names: Mapping[str, str]) -> str:
    """Reasons one after another and together."""
    found: dict[str, list[Row]] = {}
    for row in rows.of("rationales"):
        if "error" not in row:
            found.setdefault(row["engine"], []).append(row)
    if not found:
        return _NOT
    lines = []
    for engine, same in found.items():
        single, together = (median(row[name] for row in same) for name in ("single", "together"))
        lines.append(
            [
                names[engine],
                f"{single:.2f} s",
                f"{together:.2f} s",
                f"**{single / together:.2f}**",
                f"{same[-1]['tokens'][1]:,}",
                f"{same[-1]['equal']} of 20",
            ]
        )
    heads = ["", "one after another", "together", "ratio", "tokens", "equal texts"]
    return table(heads, lines)


def determinism(rows: Rows) -> str:
    """Equal bits, and their cost."""
    found = {row["engine"]: row for row in rows.of("determinism") if "error" not in row}
    if len(found) < 2:
        return _NOT
    strict, usual = found["edgecritic-deterministic"], found["edgecritic"]
    return (
        f"With `deterministic=True`, {strict['same']} of {strict['of']} judgements had the bits "
        f"of the first one, whatever was asked with them; without, {usual['same']} of "
        f"{usual['of']}. It took {strict['seconds'] / usual['seconds']:.2f} times as long "
        f"({strict['seconds']:.1f} s and {usual['seconds']:.1f} s)."
    )


def cancel(rows: Rows) -> str:
    """From setting the token to the result."""
    said = []
    for row in rows.of("cancel"):
        for stage, words in (("prefill", "in a long prompt"), ("token", "in a reason")):
            took = [seconds for seconds in row.get(stage, ()) if seconds is not None]
            if took:
                said.append(
                    f"{1000 * median(took):.0f} ms {words} (at most {1000 * max(took):.0f} ms of "
                    f"{len(took)})"
                )
    return f"From setting the token to the result: {', '.join(said)}." if said else _NOT


def fit(rows: Rows) -> str:
    """The estimate beside the peak, and what `close` gave back."""
    for row in rows.of("fit"):
        estimated, seen = row["estimated"], row["vram"]
        if "error" in estimated:
            return f"The estimate failed: {estimated['error']}"
        if seen["peak"]:
            peak = seen["peak"] - seen["before"]
            guess = estimated["vram_bytes"] / 2**20
            return (
                f"`edgecritic models estimate` said {guess:,.0f} MiB of GPU memory; the driver saw "
                f"at most {peak:,.0f} MiB more than before ({guess / peak - 1:+.1%}). Behind "
                f"`close()` {seen['closed'] - seen['before']:,.0f} MiB were left, the process's "
                "CUDA context among them."
            )
        peak, guess = row["memory"]["peak"], estimated["ram_bytes"] / 2**20
        return (
            f"`edgecritic models estimate` said {guess:,.0f} MiB; the process held at most "
            f"{peak:,.0f} MiB ({guess / peak - 1:+.1%})."
        )
    return _NOT
