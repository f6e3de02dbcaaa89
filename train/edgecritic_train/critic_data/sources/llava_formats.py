"""The forms in which LLaVA-Critic-113k asks and answers, each read by itself.

Its instructions were taken over from seven benchmarks and three preference sets, and every one has
its own layout and its own way to state a verdict. A form is recognised by the layout of the
instruction alone; only then is the answer read, in that form's way and no other. What does not
state exactly one verdict in the right place is unread, never guessed.

==============  ===============================================  ==================================
form            instruction                                      verdict
==============  ===============================================  ==================================
``brackets``    ``Question: [..]``, two ``response: [..]``       ``The better response: [first]``,
                                                                 or that both are equally good
``scored``      ``Question: [..]``, ``The LMM response: [..]``   ``Score: 85``, of 100 or the
                                                                 range that is named
``arena``       ``<|User Prompt|>``, two assistants' answers     ``[[A>>B]]`` to ``[[B>>A]]``
``two-scores``  ``[Question]``, ``[Assistant 1]`` (reference),   the first line: ``8 6.5``, each
                ``[Assistant 2]``                                of 10; the second is the verdict
``caption``     ``Text Caption:``, ``From 0 to 100, ..``         ``Final Score: 85``
``rating``      ``### Question`` .. ``### LMM Response ..``      ``Rating: 4``, 0 to 6
``correctness`` a table, ``Question | Ground truth | ..``        a number from 0.0 to 1.0
==============  ===============================================  ==================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from edgecritic.errors import InputError
from edgecritic.parsing import parse_winner
from edgecritic.task import Rubric
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.scales import on_levels
from edgecritic_train.critic_data.templates import POINTWISE


class Unread(Exception):
    """An instruction or answer that is in none of the known forms; the text says which part."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one conversation holds.

    Attributes:
        form: name of the form.
        question: what the judged models were asked.
        responses: one or two.
        verdict: level of `rubric`, or winner.
        reason: the answer without the statement of the verdict, in the words of our prompts.
        reference: the right answer that was shown, or None.
        rubric: the range, and by what was judged.
    """

    form: str
    question: str
    responses: tuple[str, ...]
    verdict: int | Winner
    reason: str
    reference: str | None = None
    rubric: Rubric = field(default_factory=Rubric)


@dataclass(frozen=True, slots=True)
class _Form:
    name: str
    layout: re.Pattern[str]
    read: Callable[[re.Match[str], str], Judgement]


def read_judgement(instruction: str, answer: str) -> Judgement:
    """Read a conversation.

    Args:
        instruction: the human's turn.
        answer: the critic's turn.

    Raises:
        Unread: it is in no known form, or its verdict is not stated as the form demands.
    """
    text = instruction.replace("<image>", "").strip()
    text = re.sub(r"\s*ASSISTANT:\s*\Z", "", text)
    for form in _FORMS:
        if match := form.layout.search(text):
            try:
                return form.read(match, answer.strip())
            except InputError as error:
                raise Unread(f"{form.name}: {error.message}") from error
    raise Unread("unknown instruction")


_NUMBER = r"(\d{1,4}(?:\.\d{1,3})?)"
_FIRST_NAME = r"(?:The first response|Response 1|Response A)"
_SECOND_NAME = r"(?:The second response|Response 2|Response B)"
# Brackets close at a line's end: those inside a response, or in what follows it, do not count.
_LINE_END = r"[ \t]*(?=\n|\Z)"
_BETTER = re.compile(
    r"(?:the\s+)?better\s+response\s*(?:is\s*)?:?\s*\**\s*\[\s*(first|second|1|2|a|b)\s*\]",
    re.IGNORECASE,
)
_EQUAL = re.compile(r"\b(?:two|both)\s+responses\s+are\s+equally\s+good\b", re.IGNORECASE)
_LAST_WORDS = 300
"""Characters at the end of an answer where a tie is declared, if one is."""


def _brackets(found: re.Match[str], answer: str) -> Judgement:
    stated = {match[1].casefold() for match in _BETTER.finditer(answer)}
    winners: set[Winner] = {"first" if name in ("first", "1", "a") else "second" for name in stated}
    if not winners and _EQUAL.search(answer[-_LAST_WORDS:]):
        winners = {"tie"}
    if len(winners) != 1:
        raise Unread("brackets: no single winner is stated")
    reason = _without_sentence(_without_sentence(answer, _BETTER), _EQUAL)
    names = {"Response 1": "first", "Response A": "first", "Response 2": "second"}
    reason = _in_our_words(reason, names | {"Response B": "second"})
    responses = (found["first"].strip(), found["second"].strip())
    return Judgement("brackets", found["question"].strip(), responses, winners.pop(), reason)


_SCORE = re.compile(rf"\b(?:final\s+)?score\b\s*\**\s*(?::|is)\s*\**\s*\[?\s*{_NUMBER}", re.I)
_OUT_OF = re.compile(r"out of (\d{1,4})|from (\d{1,3}) to (\d{1,4})", re.I)


def _scored(found: re.Match[str], answer: str) -> Judgement:
    named = _OUT_OF.search(found["task"])
    low, high = 0, 100
    if named:
        low, high = (0, int(named[1])) if named[1] else (int(named[2]), int(named[3]))
    level, rubric = on_levels(_only_number(_SCORE, answer, "scored"), Rubric(low, high))
    reason = _in_our_words(_without_sentence(answer, _SCORE), {"The LMM response": ""})
    question, response = found["question"].strip(), found["response"].strip()
    reference = (found["truth"] or "").strip() or None
    return Judgement("scored", question, (response,), level, reason, reference, rubric)


_ARENA_VERDICT = re.compile(r"\[\[\s*[AB]\s*(?:<<|<|=|>|>>)\s*[AB]\s*\]\]")


def _arena(found: re.Match[str], answer: str) -> Judgement:
    winner = parse_winner(answer) if _ARENA_VERDICT.search(answer) else None
    if winner is None:
        raise Unread("arena: no single verdict is stated")
    reason = _in_our_words(
        _without_sentence(answer, _ARENA_VERDICT),
        {"Assistant A": "first", "Assistant B": "second"},
    )
    responses = (found["first"].strip(), found["second"].strip())
    return Judgement("arena", found["question"].strip(), responses, winner, reason)


_TWO_SCORES = re.compile(rf"\A\s*{_NUMBER}[ \t,]+{_NUMBER}[ \t]*(?:\n|\Z)")
_OF_REFERENCE = Rubric(1, 10, "Helpful, relevant, accurate and detailed.")


def _two_scores(found: re.Match[str], answer: str) -> Judgement:
    scores = _TWO_SCORES.match(answer)
    if scores is None:
        raise Unread("two-scores: the first line holds no two numbers")
    level, rubric = on_levels(scores[2], _OF_REFERENCE)
    reason = re.sub(r"\bAssistant 1\b", "the reference answer", answer[scores.end() :].strip())
    reason = _sentence_starts(re.sub(r"\bAssistant 2\b", "the response", reason))
    question, response = found["question"].strip(), found["second"].strip()
    reference = found["first"].strip() or None
    return Judgement("two-scores", question, (response,), level, reason, reference, rubric)


_FINAL_SCORE = re.compile(rf"\bfinal\s+score\b\s*\**\s*:\s*\**\s*\[?\s*{_NUMBER}", re.I)
_DESCRIBE = "Describe this image in detail."


def _caption(found: re.Match[str], answer: str) -> Judgement:
    criteria = "How correct and how complete the description of the image is."
    level, rubric = on_levels(
        _only_number(_FINAL_SCORE, answer, "caption"), Rubric(0, 100, criteria)
    )
    reason = _without_sentence(answer, _FINAL_SCORE)
    caption = found["caption"].strip()
    return Judgement("caption", _DESCRIBE, (caption,), level, reason, rubric=rubric)


_RATING = re.compile(rf"\brating\b\s*\**\s*:\s*\**\s*\[?\s*{_NUMBER}", re.I)
_HALLUCINATION = next(t.rubric for t in POINTWISE if t.name.endswith("hallucination-0-6"))


def _rating(found: re.Match[str], answer: str) -> Judgement:
    level, rubric = on_levels(_only_number(_RATING, answer, "rating"), _HALLUCINATION)
    reason = _in_our_words(_without_line(answer, _RATING), {"The LMM response": ""})
    question, response = found["question"].strip(), found["response"].strip()
    return Judgement(
        "rating", question, (response,), level, reason, found["truth"].strip() or None, rubric
    )


_CORRECTNESS = re.compile(
    rf"(?:\A|\b(?:correctness|score)\b\s*\**\s*:)\s*\**\s*{_NUMBER}(?![\d.])", re.I
)
_TENTHS = Rubric(0, 10, "How much of the reference answer the response contains, in any words.")


def _correctness(found: re.Match[str], answer: str) -> Judgement:
    cells = [cell.strip() for cell in found["last"].split(" | ")]
    if len(cells) < 3:
        raise Unread("correctness: the last line of the table lacks cells")
    question, truth, prediction = cells[0], cells[1], " | ".join(cells[2:]).rstrip("| ")
    share = Fraction(_only_number(_CORRECTNESS, answer, "correctness"))
    if share > 1:
        raise Unread("correctness: the number is above 1")
    level, rubric = on_levels(str(float(share * 10)), _TENTHS)
    reason = _without_line(answer, _CORRECTNESS)
    # The benchmark joins the parts of a right answer, or its variants, by these marks.
    truth = truth.replace("<AND>", " and ").replace("<OR>", " or ")
    truth = re.sub(r"\s+", " ", truth)
    return Judgement("correctness", question, (prediction,), level, reason, truth, rubric)


def _only_number(form: re.Pattern[str], answer: str, name: str) -> str:
    stated = {Fraction(match[1]): match[1] for match in form.finditer(answer)}
    if len(stated) != 1:
        raise Unread(f"{name}: no single score is stated")
    return next(iter(stated.values()))


def _without_sentence(text: str, statement: re.Pattern[str]) -> str:
    """The text without the sentences, or lines, that hold the statement."""
    kept = [
        line
        if not statement.search(line)
        else "".join(s for s in re.split(r"(?<=[.!?])(?=\s)", line) if not statement.search(s))
        for line in text.split("\n")
    ]
    return "\n".join(kept).strip()


def _without_line(text: str, statement: re.Pattern[str]) -> str:
    """The text without the lines that hold the statement, unless a line goes on behind it."""
    kept = []
    for line in text.split("\n"):
        match = statement.search(line)
        if match is None:
            kept.append(line)
        elif len(rest := line[match.end() :].strip(" ,.;:*]")) > len(line) / 2:
            kept.append(rest)
    return "\n".join(kept).strip()


def _in_our_words(reason: str, names: dict[str, str]) -> str:
    """The reason with the responses called as our prompts call them."""
    for name, ordinal in names.items():
        ours = f"the {ordinal} response" if ordinal else "the response"
        # A genitive apostrophe may follow; "Response 10" is another name.
        reason = re.sub(rf"\b{re.escape(name)}(?!\w)", ours, reason, flags=re.IGNORECASE)
    return _sentence_starts(reason)


def _sentence_starts(text: str) -> str:
    return re.sub(r"(\A|[.!?]\s+|\n\s*(?:[-*\d.]+\s*)?)the (?=\w)", lambda m: f"{m[1]}The ", text)


def _layout(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


_FORMS = (
    _Form(
        "arena",
        _layout(
            r"<\|User Prompt\|>\s*(?P<question>.*?)\s*"
            r"<\|The Start of Assistant A's Answer\|>(?P<first>.*?)"
            r"<\|The End of Assistant A's Answer\|>\s*"
            r"<\|The Start of Assistant B's Answer\|>(?P<second>.*?)"
            r"<\|The End of Assistant B's Answer\|>"
        ),
        _arena,
    ),
    _Form(
        "two-scores",
        _layout(
            r"\[Question\]\s*(?P<question>.*?)\s*\[Assistant 1\](?P<first>.*?)"
            r"\[End of Assistant 1\]\s*\[Assistant 2\](?P<second>.*?)\[End of Assistant 2\]"
        ),
        _two_scores,
    ),
    _Form(
        "rating",
        _layout(
            r".*### Question\s*\n(?P<question>.*?)\n\s*### Standard Human-Generated Answer\s*\n"
            r"(?P<truth>.*?)\n\s*### LMM Response to Evaluate\s*\n(?P<response>.*)"
        ),
        _rating,
    ),
    _Form(
        "correctness",
        _layout(r"Question \| Ground truth \| Prediction \| Correctness.*\n(?P<last>[^\n]+)\Z"),
        _correctness,
    ),
    _Form(
        "brackets",
        _layout(
            rf"Question:\s*\[(?P<question>.*?)\]\s*\n\s*{_FIRST_NAME}:\s*\[(?P<first>.*?)\]\s*\n\s*"
            rf"{_SECOND_NAME}:\s*\[(?P<second>.*)\]{_LINE_END}"
        ),
        _brackets,
    ),
    _Form(
        "scored",
        _layout(
            r"\A(?P<task>.*?)Question:\s*\[(?P<question>.*?)\]\s*\n\s*"
            r"(?:(?:Ground Truth|The reference answer):\s*\[(?P<truth>.*?)\]\s*\n\s*)?"
            rf"The LMM response:\s*\[(?P<response>.*)\]{_LINE_END}"
        ),
        _scored,
    ),
    _Form(
        "caption",
        _layout(r"Text Caption:\s*(?P<caption>.*?)\s*\nFrom 0 to 100,"),
        _caption,
    ),
)
