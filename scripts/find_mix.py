"""Finds which tensors of a critic bear few bits, and mixes types for a size by that.

    python scripts/find_mix.py CHECKPOINT --data SET... --budgets 88 80 --out FOLDER

Each group of tensors is rounded alone to about four bits while the rest stays at eight, and judges
pairs of sets that are used for nothing else. A group's damage is what it adds to the divergence of
verdicts from the F16 file: flips are too few to order groups by, and stand beside it. Noise of
rounding falls by four with each bit, and damages of groups are taken to add up. So one can say
what any mix will cost; types are lowered step by step, each time the one that costs least for each
byte that it saves, until the language model fits the budget in megabytes. The mixes are bundles in
FOLDER/bundles, to be judged on other rows by ``bench quantization``; FOLDER/mix.json says why.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecritic import Bundle, CriticError
from edgecritic.bundle import MANIFEST, describe_file, write_bundle
from edgecritic.gguf_header import GgufHeader, read_header
from edgecritic.staging import link
from edgecritic_bench import cli as bench
from edgecritic_bench.quantization.report import read_report
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.quantize import QuantizeOptions, quantize

TYPES = (("Q8_0", 8.5), ("Q5_1", 6.0), ("Q5_0", 5.5), ("IQ4_NL", 4.5))
"""Types that every matrix with rows of a multiple of 32 can have, with bits a weight."""
LONG_TYPES = (("Q8_0", 8.5), ("Q6_K", 6.5625), ("Q5_K", 5.5), ("Q4_K", 4.5), ("Q3_K", 3.4375))
"""Types of matrices with rows of a multiple of 256."""
PROBE, PROBE_BITS = "IQ4_NL", 4.5
BASE = "Q8_0"


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that get one type.

    Attributes:
        name: for people.
        tensors: their names.
        n_weights: in all of them.
        types: that they can have with their bits, large to small.
    """

    name: str
    tensors: tuple[str, ...]
    n_weights: int
    types: tuple[tuple[str, float], ...]

    def override(self, kind: str) -> tuple[str, str]:
        """For the quantizer."""
        names = "|".join(map(re.escape, self.tensors))
        return f"^(?:{names})$", kind


@dataclass(frozen=True, slots=True)
class Damage:
    """What rounding a group to `PROBE` does.

    Attributes:
        kl: nats a verdict beyond what the eight-bit file has.
        flips: share of winners that differ from the F16 file's.
    """

    kl: float
    flips: float

    def at(self, bits: float) -> float:
        """Nats expected of another type: noise falls by four with each bit."""
        return self.kl * math.pow(4, PROBE_BITS - bits)


def groups_of(header: GgufHeader) -> list[Group]:
    """Embeddings, attention's matrices, and thirds of each feed-forward matrix."""
    layers = 1 + max(int(name.split(".")[1]) for name in header.tensors if name.startswith("blk."))
    members: dict[str, list[str]] = {}
    for name, tensor in header.tensors.items():
        if len(tensor.shape) > 1 and (group := _group(name, layers)):
            members.setdefault(group, []).append(name)
    return [_described(group, names, header) for group, names in members.items()]


def _group(name: str, layers: int) -> str:
    if name in ("token_embd.weight", "output.weight"):
        return name.partition(".")[0]
    found = re.fullmatch(r"blk\.(\d+)\.(attn_q|attn_k|attn_v|attn_output|ffn_\w+)\.weight", name)
    if not found:
        return ""
    third = ("early", "middle", "late")[3 * int(found[1]) // layers]
    return f"{found[2]} {third}" if found[2].startswith("ffn") else found[2]


def _described(group: str, names: Sequence[str], header: GgufHeader) -> Group:
    shapes = [header.tensor(name).shape for name in names]
    long = all(shape[0] % 256 == 0 for shape in shapes)
    n_weights = sum(math.prod(shape) for shape in shapes)
    return Group(group, tuple(names), n_weights, LONG_TYPES if long else TYPES)


def mixed(
    groups: Sequence[Group], damages: Mapping[str, Damage], fixed: int, budget: int
) -> dict[str, str]:
    """The type of each group.

    Args:
        groups: all of them.
        damages: by name of a group.
        fixed: bytes of everything else.
        budget: bytes that the file may have; the smallest possible mix where it cannot be met.
    """
    chosen = {group.name: 0 for group in groups}

    def size() -> float:
        return fixed + sum(g.n_weights * g.types[chosen[g.name]][1] / 8 for g in groups)

    def price(group: Group) -> float:
        """Nats for each byte that the next smaller type saves."""
        (_, now), (_, then) = group.types[chosen[group.name] :][:2]
        damage = damages[group.name]
        return (damage.at(then) - damage.at(now)) / (group.n_weights * (now - then) / 8)

    while size() > budget:
        lower = [group for group in groups if chosen[group.name] + 1 < len(group.types)]
        if not lower:
            break
        chosen[min(lower, key=price).name] += 1
    return {group.name: group.types[chosen[group.name]][0] for group in groups}


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes bundles that differ in their language model's types alone.

    Attributes:
        full: bundle in F16.
        source: language model to quantize.
        importance: see `QuantizeOptions`.
    """

    full: Bundle
    source: Path
    importance: ImportanceMatrix | None

    @classmethod
    def open(cls, checkpoint: Path, work: Path, importance: Path | None) -> Workshop:
        """Write the checkpoint's files."""
        work.mkdir(parents=True, exist_ok=True)
        with Checkpoint.open(checkpoint) as opened:
            facts = CriticFacts("mix", "1.0", "the checkpoint", "Apache-2.0")
            (full,) = export_gguf(opened, work, facts, GgufOptions(("F16",)))
            source = work / "whole.gguf"
            if not source.exists():
                write_language_model(opened, source, float_type="F32", name="whole")
        matrix = None if importance is None else ImportanceMatrix.read(importance)
        return cls(full, source, matrix)

    def make(self, folder: Path, overrides: Sequence[tuple[str, str]]) -> Path:
        """A bundle with some types."""
        if (folder / MANIFEST).exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        model = folder / "language_model.gguf"
        quantize(self.source, model, BASE, QuantizeOptions(overrides, self.importance))
        manifest = self.full.manifest
        files = [describe_file("language_model", model, quant="mixed" if overrides else BASE)]
        here = {model.name: model}
        for file in manifest.files:
            if file.role != "language_model":
                files.append(file)
                here[file.path] = folder / file.path
                if not link(self.full.folder / file.path, here[file.path]):
                    here[file.path] = self.full.folder / file.path
        rounding = None
        if self.importance is not None:
            rounding = {"importance": list(self.importance.datasets)}
        write_bundle(folder, replace(manifest, files=tuple(files), rounding=rounding), here)
        return folder


def probed(
    workshop: Workshop, groups: Sequence[Group], args: argparse.Namespace
) -> dict[str, Damage]:
    """Damage of every group, by judging with each of them rounded alone."""
    probes = args.out / "probes"
    bundles = {BASE: workshop.make(probes / BASE, ())}
    for group in groups:
        folder = probes / group.name.replace(" ", "-")
        bundles[group.name] = workshop.make(folder, (group.override(PROBE),))
    run = args.out / "run"
    words = [f"F16={workshop.full.folder}", *(f"{name}={at}" for name, at in bundles.items())]
    bench.main(
        [
            "quantization",
            *("--bundles", *words, "--data", *map(str, args.data), "--out", str(run)),
            *("--pairs", str(args.pairs), "--scores", "0", "--attacks", "0", "--no-reasons"),
            *("--jobs", str(args.jobs), "--threads", "1", "--device", args.device),
        ]
    )
    arms = {arm["arm"]["name"]: arm for arm in read_report(run / "report.json")["arms"]}
    told = {name: arms[name]["reference"]["pairs"] for name in bundles}
    base = told[BASE]["kl"]["value"]
    added = {name: found["kl"]["value"] - base for name, found in told.items()}
    # What seems to cost nothing costs no more than could be measured.
    least = min((kl for kl in added.values() if kl > 0), default=0.0)
    return {
        name: Damage(max(added[name], least), found["changed"]["value"])
        for name, found in told.items()
    }


def lines(groups: Sequence[Group], damages: Mapping[str, Damage]) -> Iterator[str]:
    """A table in Markdown, the dearest group first."""
    yield f"| group at {PROBE} | MB saved | KL added, millinats | winners changed |"
    yield "| :--- | ---: | ---: | ---: |"
    for group in sorted(groups, key=lambda one: -damages[one.name].kl):
        saved = group.n_weights * (TYPES[0][1] - PROBE_BITS) / 8e6
        damage = damages[group.name]
        yield f"| {group.name} | {saved:.1f} | {1000 * damage.kl:.3f} | {damage.flips:.1%} |"


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--imatrix", type=Path)
    parser.add_argument("--budgets", type=float, nargs="+", required=True, help="megabytes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    args = parser.parse_args()
    try:
        workshop = Workshop.open(args.checkpoint, args.out / "full", args.imatrix)
        groups = groups_of(read_header(workshop.source))
        damages = probed(workshop, groups, args)
        base = (args.out / "probes" / BASE / "language_model.gguf").stat().st_size
        fixed = base - round(sum(group.n_weights for group in groups) * TYPES[0][1] / 8)
        mixes = {
            f"{budget:g} MB": mixed(groups, damages, fixed, round(budget * 1e6))
            for budget in args.budgets
        }
        for name, types in mixes.items():
            overrides = [group.override(types[group.name]) for group in groups]
            workshop.make(args.out / "bundles" / name.replace(" ", "-"), overrides)
    except CriticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    told = {"damages": {n: [d.kl, d.flips] for n, d in damages.items()}, "mixes": mixes}
    (args.out / "mix.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    for line in lines(groups, damages):
        sys.stdout.write(f"{line}\n")
    for name, types in mixes.items():
        sys.stdout.write(f"\n{name}: {', '.join(f'{g} {t}' for g, t in types.items())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
