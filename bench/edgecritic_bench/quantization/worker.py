"""One arm in a process of its own: ``python -m edgecritic_bench.quantization.worker``.

It reads a job from stdin, judges what the arm's journal does not hold yet, and tells on stdout, in
JSON Lines, how far it is. A process of its own can be killed, and its peak of memory is the arm's.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecritic import Bundle, Critic, CriticError, InputError
from edgecritic.locking import exclusive
from edgecritic_bench.judge import drop_torn_line, uncorrected
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization.arms import Arm, read_arms
from edgecritic_bench.quantization.features import SharedFeatures
from edgecritic_bench.quantization.journal import Judged, append, read_journal, row_digest
from edgecritic_bench.quantization.rows import Sample, read_rows
from edgecritic_bench.quantization.work import Group, grouped, judge_group, shared_out

_PACKAGES = {
    "llamacpp": ("llama-cpp-python",),
    "onnx": ("onnxruntime", "tokenizers"),
    "hf": ("torch", "transformers"),
}
_RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts a process's peak."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told.

    Attributes:
        folder: of the run.
        arm: its name.
        sample: what to judge.
        until: epoch second at which to stop behind the next group; None for never.
        threads: of computation; None for the physical cores.
        device: ``auto``, ``cpu`` or ``gpu``.
        feature_bytes: room for shared features on disk; 0 shares none.
        reasons: digests of rows to give reasons for, in place of all judging.
        attacked: judge the manipulated rows, too.
        part: which of `parts` this process judges.
        parts: processes that share the arm's pictures.
    """

    folder: str
    arm: str
    sample: Sample
    until: float | None = None
    threads: int | None = None
    device: str = "auto"
    feature_bytes: int = 0
    reasons: tuple[str, ...] = ()
    attacked: bool = True
    part: int = 0
    parts: int = 1

    def to_json(self) -> str:
        """For the worker's stdin."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of `to_json`."""
        data = json.loads(text)
        sample, reasons = Sample.from_dict(data["sample"]), tuple(data["reasons"])
        return cls(**{**data, "sample": sample, "reasons": reasons})


@dataclass(frozen=True, slots=True)
class ArmFiles:
    """Where an arm's results lie.

    Attributes:
        journal: its judgements; those of further parts lie beside it.
        meta: what made them, and what it took.
        reasons: reasons that were asked for.
    """

    journal: Path
    meta: Path
    reasons: Path

    @classmethod
    def of(cls, folder: Path, arm: Arm) -> ArmFiles:
        """The files of an arm in a run's folder."""
        start = folder / "arms"
        return cls(*(start / f"{arm.slug}{end}" for end in (".jsonl", ".json", ".reasons.jsonl")))

    def part(self, number: int) -> Path:
        """The journal of one of the processes that share an arm."""
        return self.journal.with_suffix(f".part{number}.jsonl") if number else self.journal

    def judged(self) -> dict[str, Judged]:
        """What all parts have judged, by digest."""
        stem = glob.escape(self.journal.stem)
        further = sorted(self.journal.parent.glob(f"{stem}.part*.jsonl"))
        return {
            digest: judged
            for path in (self.journal, *further)
            for digest, judged in read_journal(path).items()
        }


def work(job: Job) -> None:
    """Judge one arm as far as time allows.

    Raises:
        InputError: the journal holds judgements of another critic.
        CriticError: the critic cannot be loaded, or fails.
    """
    folder = Path(job.folder)
    arm = next(arm for arm in read_arms(folder / "arms.json") if arm.name == job.arm)
    rows = read_rows(job.sample, folder).asked(attacked=job.attacked)
    files = ArmFiles.of(folder, arm)
    files.journal.parent.mkdir(parents=True, exist_ok=True)
    _claim(arm, files)
    drop_torn_line(files.part(job.part))
    done = files.judged()
    mine = shared_out(rows, job.part, job.parts)
    left = [row for row in mine if row_digest(row) not in done]
    if not left and not job.reasons:
        return
    begun = time.perf_counter()
    bundle = uncorrected(Bundle.read(arm.folder))
    with Critic.load(
        bundle,
        backend=arm.backend,
        device=job.device,  # type: ignore[arg-type]  # checked when loading
        threads=job.threads,
        cache=_features(job, arm, bundle),
    ) as critic:
        loading = time.perf_counter() - begun
        if job.reasons:
            _reason(critic, [row for row in rows if row_digest(row) in job.reasons], job, files)
            return
        _judge(critic, grouped(left), job, files)
        _note(critic, arm, files, loading)


def _features(job: Job, arm: Arm, bundle: Bundle) -> SharedFeatures | None:
    """A re-run computes its features itself: they are part of what may differ."""
    if not job.feature_bytes or arm.role == "rerun":
        return None
    newline = "".join(file.sha256 for file in bundle.manifest.having("image_newline"))
    tag = f"{arm.backend} {job.device} {newline}"
    return SharedFeatures(Path(job.folder) / "features", job.feature_bytes, tag)


def _claim(arm: Arm, files: ArmFiles) -> None:
    """Refuse to add to the judgements of another bundle."""
    mine = {"files": arm.files, "backend": arm.backend, "role": arm.role}
    if not files.meta.exists():
        _write_meta(files.meta, {"made_by": mine})
        return
    before = json.loads(files.meta.read_text(encoding="utf-8"))["made_by"]
    if before != mine and files.judged():
        raise InputError(
            f"{files.journal} holds judgements of another bundle than {arm.folder}",
            "name another folder for this run, or delete this file and its .json",
        )


def _judge(critic: Critic, groups: Sequence[Group], job: Job, files: ArmFiles) -> None:
    for group in groups:
        if job.until is not None and time.time() >= job.until:
            return
        append(files.part(job.part), judge_group(critic, group))
        _tell({"judged": len(group)})


def _note(critic: Critic, arm: Arm, files: ArmFiles, loading: float) -> None:
    """What made the judgements, beside them; the greatest peak of all processes that did."""
    calibration = critic.profile.calibration
    run = Provenance.here(["quantization"], ("edgecritic", "numpy", *_PACKAGES[arm.backend]))
    with exclusive(files.meta.with_suffix(".lock")):
        meta = json.loads(files.meta.read_text(encoding="utf-8"))
        meta |= {
            "engine": critic.info.engine,
            "device": critic.info.device,
            "pairwise_temperature": calibration.pairwise_temperature,
            "tie_margin": max(calibration.tie_margin, calibration.noise),
            "pointwise_temperature": calibration.pointwise_temperature,
            "load_seconds": loading,
            "peak_bytes": max(_peak_bytes(), meta.get("peak_bytes", 0)),
            "run": run.to_dict(),
            "runs": _runs(meta, run, critic.info.device),
        }
        _write_meta(files.meta, meta)


def _runs(meta: Mapping[str, Any], run: Provenance, device: str) -> list[dict[str, Any]]:
    """Where and with what an arm has judged: it may be gone on with on another machine."""
    noted = run.to_dict()
    stamp = {key: noted[key] for key in ("machine", "system", "versions")} | {"device": device}
    # As JSON has them, so that the same run is the same.
    stamp = json.loads(json.dumps(stamp))
    known: list[dict[str, Any]] = meta.get("runs", [])
    return known if stamp in known else [*known, stamp]


def _write_meta(path: Path, meta: Mapping[str, object]) -> None:
    """In one step: other parts of the arm read it."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _peak_bytes() -> int:
    """Greatest resident memory of this process; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_UNIT


def _reason(critic: Critic, rows: Sequence[PairRow | ScoreRow], job: Job, files: ArmFiles) -> None:
    drop_torn_line(files.reasons)
    for row in rows:
        if job.until is not None and time.time() >= job.until:
            return
        entry = {"digest": row_digest(row), **_explained(critic, row)}
        # A line each, closed: what was explained stays when the process is ended.
        with files.reasons.open("a", encoding="utf-8", newline="\n") as out:
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
        _tell({"judged": 1})


def _explained(critic: Critic, row: PairRow | ScoreRow) -> dict[str, Any]:
    images = list(row.images) or None
    if isinstance(row, PairRow):
        found = critic.compare(images, row.question, *row.responses, rubric=row.rubric)
        return {"said": found.winner, "reason": found.rationale}
    verdict = critic.score(
        images, row.question, row.response, reference=row.reference, rubric=row.rubric
    )
    return {"said": verdict.score, "reason": verdict.rationale}


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read a job from stdin and do it; returns the exit code."""
    job = Job.from_json(sys.stdin.read())
    try:
        work(job)
    except CriticError as error:
        _tell({"error": error.message, "hint": error.hint})
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
