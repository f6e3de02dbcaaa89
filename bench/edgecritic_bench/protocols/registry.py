"""All benchmarks by name: where their data is, how it is read, and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from edgecritic import InputError
from edgecritic_bench.protocols import (
    mllm_judge,
    mm_rlhf,
    multimodal_rewardbench,
    rows_file,
    twin_sets,
    vl_rewardbench,
    wildvision,
)
from edgecritic_bench.protocols.hub import HubData
from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import AnyRow
from edgecritic_bench.protocols.scores import Protocol, Score


class Loader(Interface):
    """Reads rows from a file or folder."""

    def __call__(self, path: Path, /) -> Sequence[AnyRow]: ...


class Scorer(Interface):
    """Scores replies to rows."""

    def __call__(
        self,
        rows: Sequence[AnyRow],
        replies: Sequence[Reply],
        protocol: Protocol,
        *,
        partial: bool = False,
    ) -> Score: ...


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: on the command line.
        title: for people.
        source: paper or page.
        licence: of the data.
        load: reads its rows.
        score: scores replies.
        protocols: known ones; the first is the default.
        hub: where it is published; None where it is not.
        scored: rewards of single responses decide pairs, rather than comparisons.
    """

    name: str
    title: str
    source: str
    licence: str
    load: Loader
    score: Scorer
    protocols: tuple[Protocol, ...]
    hub: HubData | None = None
    scored: bool = False


_MLLM_JUDGE = HubData("shuaishuaicdp/MLLM-Judge", ("Benchmark/*", "image/*"), "MIT")
_ALL: tuple[Benchmark, ...] = (
    *(
        Benchmark(
            f"{mllm_judge.NAME}-{mode}",
            f"MLLM-as-a-Judge, {text}",
            "arXiv:2402.04788",
            "CC-BY-NC-4.0 by its repository, MIT by its card",
            load,
            mllm_judge.score,
            mllm_judge.KNOWN,
            _MLLM_JUDGE,
        )
        for mode, text, load in (
            ("score", "scores", mllm_judge.load_scores),
            ("pair", "pairs", mllm_judge.load_pairs),
            ("batch", "batches", mllm_judge.load_batches),
        )
    ),
    Benchmark(
        vl_rewardbench.NAME,
        "VL-RewardBench",
        "arXiv:2411.17451",
        "MIT",
        vl_rewardbench.load,
        vl_rewardbench.score,  # type: ignore[arg-type]  # takes what `load` gives
        vl_rewardbench.KNOWN,
        HubData("MMInstruction/VL-RewardBench", ("data/test-*.parquet",), "MIT"),
    ),
    Benchmark(
        multimodal_rewardbench.NAME,
        "Multimodal RewardBench",
        "arXiv:2502.14191",
        "CC-BY-NC-4.0",
        multimodal_rewardbench.load,
        multimodal_rewardbench.score,  # type: ignore[arg-type]  # takes what `load` gives
        multimodal_rewardbench.KNOWN,
        # The authors publish a script that collects the pictures; this copy has them inside.
        HubData("syhuggingface/multimodal_rewardbench", ("data/*.parquet",), "CC-BY-NC-4.0"),
    ),
    Benchmark(
        mm_rlhf.NAME,
        "MM-RLHF-RewardBench",
        "arXiv:2502.10391",
        "see its card",
        mm_rlhf.load,
        mm_rlhf.score,  # type: ignore[arg-type]  # takes what `load` gives
        mm_rlhf.KNOWN,
        HubData(
            "yifanzhang114/MM-RLHF-RewardBench",
            ("mm_reward_bench.jsonl", "images/**"),
            "see its card",
        ),
        scored=True,
    ),
    Benchmark(
        wildvision.BATTLES,
        "WildVision battles",
        "arXiv:2406.11069",
        "ODC-BY",
        wildvision.load_battles,
        wildvision.score_battles,  # type: ignore[arg-type]  # takes what `load` gives
        wildvision.BATTLES_KNOWN,
        HubData("WildVision/wildvision-battle", ("**/*.parquet", "*.parquet"), "ODC-BY"),
    ),
    Benchmark(
        rows_file.CRITIC_113K,
        "LLaVA-Critic-113k, held-out rows",
        "arXiv:2410.02712",
        "Apache-2.0",
        rows_file.load_held_out,
        rows_file.score,
        rows_file.KNOWN,
    ),
    Benchmark(
        twin_sets.NAME,
        "The embedded critic's splits",
        "edgecritic train",
        "see data-sources.md",
        twin_sets.load,
        rows_file.score,
        rows_file.KNOWN,
    ),
    Benchmark(
        rows_file.NAME,
        "Rows of one's own",
        "any rows file",
        "yours",
        rows_file.load,
        rows_file.score,
        rows_file.KNOWN,
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def benchmark(name: str) -> Benchmark:
    """A benchmark by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in BENCHMARKS:
        raise InputError(f"there is no benchmark {name!r}", f"known are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
