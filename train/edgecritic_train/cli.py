"""``edgecritic train``: asset packs, items, the embedded critic and what looks at it."""

from __future__ import annotations

from collections.abc import Sequence

from edgecritic.cli.commands import hand_over

COMMANDS = {
    "assets": ("edgecritic_train.data.assets", "build the asset packs from their sources"),
    "items": ("edgecritic_train.data.engine", "write an evaluation set or a contact sheet"),
    "data": ("edgecritic_train.critic_data.cli", "make, check and describe critic rows"),
    "sft": ("edgecritic_train.tuning.sft", "train an adapter of a critic, or of a policy"),
    "dpo": ("edgecritic_train.tuning.dpo", "train a policy from rows with a winner"),
    "rounds": ("edgecritic_train.rounds.command", "let a policy learn from a critic's rankings"),
    "rank-pairs": ("edgecritic_train.rounds.rank_pairs", "best and worst answers for others"),
    "estimate": ("edgecritic_train.tuning.estimate", "predict memory and time of such a training"),
    "launch-config": ("edgecritic_train.tuning.launch_config", "settings for several GPUs"),
    "embedded": ("edgecritic_train.embedded.train", "train the embedded critic"),
    "judge": ("edgecritic_train.embedded.judge", "judge an evaluation set in torch"),
    "features": ("edgecritic_train.embedded.features", "write image features, from torch"),
    "hf": ("edgecritic_train.embedded.hf", "write a folder that transformers loads"),
}
"""Name to the module whose `main` carries the command out, and what it does."""


def main(argv: Sequence[str]) -> int:
    """Run a train command.

    Args:
        argv: the arguments behind ``edgecritic train``.

    Returns:
        The exit status; 2 where argparse refuses the arguments.

    Raises:
        CriticError: what went wrong; the runtime's command line turns it into text and a status.
        ImportError: a package of the extra ``train`` is missing; that command line names it.
    """
    return hand_over("edgecritic train", "Trains critics.", COMMANDS, argv)
