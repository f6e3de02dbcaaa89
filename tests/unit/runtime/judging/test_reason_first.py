"""A dialect that reasons first: the same verdict code, read behind a generated reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from edgecritic.backends.base import CancelToken
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History, Script, ScriptedBackend
from edgecritic.critic import Critic
from edgecritic.errors import ContextOverflowError
from edgecritic.profile import CriticProfile
from edgecritic.prompts.template import read_dialect
from edgecritic.task import Rubric
from edgecritic.verdict import Preference, Verdict
from hashed_critic import PROFILE, hashed_critic, left_open, noise, words

QUESTION = "Which digit is this?"
DIALECT = """
system = ""
verdict = "reason-first"

[chat]
open = "<|im_start|>{role}\\n"
close = "<|im_end|>\\n"

[pointwise]
answer = "\\nAnswer: {verdict}"
reason = ""

[pairwise]
answer = "\\nAnswer: {verdict}"
reason = ""

[pairwise.labels]
first = "A"
second = "B"
tie = "neither"
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> CriticProfile:
    folder = tmp_path_factory.mktemp("thinking")
    (folder / "dialect.toml").write_text(DIALECT)
    (folder / "pointwise-1.txt").write_text("{question} {response} ({low} to {high})\n")
    (folder / "pairwise-1.txt").write_text("{question} A: {first} B: {second}\n")
    return replace(PROFILE, dialect=read_dialect(folder, "thinking"))


def reasoning(ending: str = "\nAnswer: 3") -> Script:
    """Says "Let me see x", x being the user's own text, then `ending`; verdicts are hashes."""

    def script(history: History) -> Mapping[int, float]:
        text = words(history)
        prompt, _, said = text.rpartition(b"assistant\n")
        if said.endswith(b"\nAnswer: "):
            return dict(zip(b"ABn" if b" A: " in prompt else b"123", noise(text, 3), strict=True))
        if said[-1:].isdigit():
            return {258: 3.0, ord("0"): 1.0}
        planned = b"Let me see." + ending.encode()
        left = planned[len(said) :] if planned.startswith(said) else b""
        return {left[0] if left else 258: 9.0}

    return script


def test_the_reason_comes_first_and_the_verdict_behind_it(profile: CriticProfile) -> None:
    critic, backend = hashed_critic(profile, script=reasoning())
    *pieces, verdict = critic.score_stream(None, QUESTION, "x", rubric=Rubric(1, 3))
    assert isinstance(verdict, Verdict)
    assert verdict.status == "ok"
    assert verdict.rationale == "Let me see."
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == "Let me see."
    asked = f"user\n{QUESTION} x (1 to 3)\nassistant\nLet me see.\nAnswer: "
    assert verdict.level == 1 + max(range(3), key=noise(asked.encode(), 3).__getitem__)
    assert left_open(critic, backend) == 0
    assert backend.free_cells == backend.info.n_ctx
    # The text of the reason up to the lead-in, which stops it before its space.
    assert verdict.usage.rationale_tokens == len("Let me see.\nAnswer:")
    # The reason is read anew from where its text and what was generated part.
    assert verdict.usage.decoded_tokens == verdict.usage.prompt_tokens + len(": ")


@pytest.mark.parametrize("ending", ["", "\nAns", "\nAnswer: 3\nAnswer: 2"])
def test_the_answer_is_forced_however_the_reason_ends(profile: CriticProfile, ending: str) -> None:
    critic, _ = hashed_critic(profile, script=reasoning(ending))
    verdict = critic.score(None, QUESTION, "x", rubric=Rubric(1, 3))
    assert verdict.status == "ok"
    assert verdict.rationale == "Let me see." + ending[:4].rstrip() * (ending == "\nAns")


def test_the_limit_cuts_the_reason_and_not_the_verdict(profile: CriticProfile) -> None:
    critic, _ = hashed_critic(profile, script=reasoning())
    verdict = critic.score(None, QUESTION, "x", rubric=Rubric(1, 3), max_rationale_tokens=6)
    assert (verdict.status, verdict.rationale) == ("ok", "Let me")


def test_levels_of_which_one_begins_another_are_told_apart(profile: CriticProfile) -> None:
    critic, _ = hashed_critic(profile, script=reasoning())
    verdict = critic.score(None, QUESTION, "x", rubric=Rubric(1, 10))
    assert verdict.probabilities[1] > verdict.probabilities[10] > 0


def test_the_context_leaves_room_for_the_verdict(profile: CriticProfile) -> None:
    critic, _ = hashed_critic(profile, script=reasoning())
    whole = critic.score(None, QUESTION, "x", rubric=Rubric(1, 3))
    answer = len("\nAnswer: 1") + 2  # the turn's end
    n_ctx = whole.usage.prompt_tokens + answer + 5
    tight, _ = hashed_critic(profile, script=reasoning(), options=EngineOptions(n_ctx=n_ctx))
    assert tight.score(None, QUESTION, "x", rubric=Rubric(1, 3)).rationale == "Let m"
    options = EngineOptions(n_ctx=n_ctx - 6)
    tighter, backend = hashed_critic(profile, script=reasoning(), options=options)
    with pytest.raises(ContextOverflowError):
        tighter.score(None, QUESTION, "x", rubric=Rubric(1, 3))
    assert left_open(critic, backend) == 0


@pytest.mark.parametrize(
    ("orders", "reason"), [("both", True), ("given", True), ("swapped", False)]
)
def test_pairs_report_the_reason_of_the_given_order(
    profile: CriticProfile, orders: str, reason: bool
) -> None:
    critic, backend = hashed_critic(profile, script=reasoning())
    *pieces, preference = critic.compare_stream(
        None,
        QUESTION,
        "x",
        "y",
        orders=orders,
    )
    assert isinstance(preference, Preference)
    assert preference.status == "ok"
    assert len(preference.orders) == (2 if orders == "both" else 1)
    assert preference.rationale == ("Let me see." if reason else None)
    assert "".join(str(piece) for piece in pieces) == (preference.rationale or "")
    assert left_open(critic, backend) == 0


def test_without_a_rationale_it_still_reasons_and_keeps_it_to_itself(
    profile: CriticProfile,
) -> None:
    critic, _ = hashed_critic(profile, script=reasoning())
    (verdict,) = critic.score_stream(None, QUESTION, "x", rationale=False, rubric=Rubric(1, 3))
    critic.forget()
    told = critic.score(None, QUESTION, "x", rubric=Rubric(1, 3))
    assert isinstance(verdict, Verdict)
    assert verdict.rationale is None
    assert verdict.probabilities == told.probabilities
    assert verdict.usage == told.usage


def test_ranking_reasons_for_every_pair(profile: CriticProfile) -> None:
    critic, backend = hashed_critic(profile, script=reasoning())
    ranking = critic.rank(None, QUESTION, ["x", "y", "z"])
    assert ranking.status == "ok"
    assert ranking.usage.rationale_tokens == 6 * len("Let me see.\nAnswer:")
    assert left_open(critic, backend) == 0


def test_cancelled_while_reasoning(profile: CriticProfile) -> None:
    cancel, inner = CancelToken(), reasoning()

    def script(history: History) -> Mapping[int, float]:
        if words(history).endswith(b"Let me"):
            cancel.cancel()
        return inner(history)

    critic, backend = hashed_critic(profile, script=script)
    heard: list[str] = []
    verdict = critic.score(None, QUESTION, "x", cancel=cancel, on_text=heard.append)
    assert (verdict.status, verdict.score) == ("cancelled", None)
    assert verdict.rationale == "".join(heard) == "Let me"
    assert left_open(critic, backend) == 0


def test_a_cancelled_ranking_is_not_half_a_ranking(profile: CriticProfile) -> None:
    cancel = CancelToken()
    inner = reasoning()

    def script(history: History) -> Mapping[int, float]:
        if words(history).endswith(b"Let me"):
            cancel.cancel()
        return inner(history)

    backend = ScriptedBackend(script)
    critic = Critic(backend, profile)
    ranking = critic.rank(None, QUESTION, ["x", "y"], cancel=cancel)
    assert (ranking.status, ranking.order, ranking.rewards) == ("cancelled", (), (None, None))
    assert left_open(critic, backend) == 0
