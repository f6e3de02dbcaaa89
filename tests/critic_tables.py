"""Small files in the schema of the published critic set, a conversation in each of its forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PREAMBLE = "<image>\nGiven an image and a question, serve as an unbiased judge.\n"
ARENA = (
    "<|User Prompt|>\nWhat is this?\n\n<|The Start of Assistant A's Answer|>\nA cat.\n"
    "<|The End of Assistant A's Answer|>\n\n<|The Start of Assistant B's Answer|>\nA dog.\n"
    "<|The End of Assistant B's Answer|>"
)
BENCH = (
    "[Question]\nWhat is this?\n\n[Assistant 1]\nA grey cat.\n\n[End of Assistant 1]\n\n"
    "[Assistant 2]\nA cat.\n\n[End of Assistant 2]\n\n[System]\nRate both from 1 to 10."
)
RATING = (
    "Rate from 0 to 6.\n- Rating: 6, very informative\n- Rating: 0, not informative\n\n"
    "### Image Contents\ncat\n\n### Question\nWhat is this?\n\n"
    "### Standard Human-Generated Answer\nA cat.\n\n### LMM Response to Evaluate\nA dog.\n"
)
TABLE = (
    "Compare the ground truth and prediction.\n"
    "Question | Ground truth | Prediction | Correctness\n--- | --- | --- | ---\n"
    "What is x? | -1 <AND> -5 | x = 3 | 0.0\nWhat is x? | -1 <OR> -5 | x = -5 |"
)

# source, config: (instruction, answer)
CONVERSATIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("vlfeedback", "pairwise"): (
        f"{PREAMBLE}Question: [What [exactly] is this?]\nThe first response: [A cat.]\n"
        "The second response: [A dog [brown].]\nASSISTANT:\n",
        "The first response names the cat. The second is wrong. The better response: [first].",
    ),
    ("rlhf-v", "pairwise"): (
        f"{PREAMBLE}Question: [What is this?]\nResponse A: [A dog.]\nResponse B: [A cat.]\n",
        "Response B is right, while Response A's claim is not.\nThe better response: [B]",
    ),
    ("llava-rlhf", "pairwise"): (
        f"{PREAMBLE}Question: [What is this?]\nResponse 1: [Cat.]\nResponse 2: [A cat.]\n",
        "Both name the cat. Therefore, two responses are equally good.",
    ),
    ("wildvision", "pointwise"): (ARENA, "Assistant A is right.\n\nMy verdict is: [[A>>B]]."),
    ("llava-bench", "pointwise"): (
        BENCH,
        "8 6.5\nAssistant 1 names the colour, and Assistant 2 does not.",
    ),
    ("mmhal", "pointwise"): (RATING, "The answer is a cat, not a dog.\n\nRating: 1"),
    ("mm-vet", "pointwise"): (TABLE, "0.5\nOne of the two solutions is named."),
    ("svit-detail", "pointwise"): (
        "<image>\nText Caption: A cat on a mat.\nFrom 0 to 100, how much do you rate this?",
        "The cat is there, the mat is a sofa.\nFinal Score: 65",
    ),
    ("wilder", "pointwise"): (
        f"{PREAMBLE}Score the response out of 100.\nQuestion: [What is this?]\n"
        "The LMM response: [A cat.]\nASSISTANT:\n",
        "Score: [90]. The LMM response is right about the cat.",
    ),
}


def picture_bytes(seed: int, folder: Path) -> bytes:
    path = folder / f"{seed}.png"
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((32, 24), Image.Resampling.NEAREST).save(path)
    return path.read_bytes()


def write_published_set(folder: Path, extra: tuple[tuple[str, str, str], ...] = ()) -> None:
    """A copy of the set: two configurations, Parquet shards with pictures in them.

    Args:
        folder: of the copy.
        extra: further (config, instruction, answer), of the source ``odd``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_config: dict[str, list[dict[str, object]]] = {"pairwise": [], "pointwise": []}
    given = [(s, c, i, a) for (s, c), (i, a) in CONVERSATIONS.items()]
    given += [("odd", config, instruction, answer) for config, instruction, answer in extra]
    for number, (source, config, instruction, answer) in enumerate(given):
        by_config[config].append(
            {
                "id": f"{source}_{number}",
                "source": source,
                "conversations": [
                    {"from": "human", "value": instruction},
                    {"from": "gpt", "value": answer},
                ],
                # Two conversations share a picture, as in the set.
                "image": {"bytes": picture_bytes(number // 2, folder), "path": f"{number}.jpg"},
            }
        )
    for config, records in by_config.items():
        (folder / config).mkdir(exist_ok=True)
        half = (len(records) + 1) // 2
        for shard, part in enumerate((records[:half], records[half:])):
            name = f"train-{shard:05d}-of-00002.parquet"
            pq.write_table(pa.Table.from_pylist(part), folder / config / name)
