"""Judgements for people to read: a score or a preference, its probabilities, and the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecritic.cli.terminal import Colour, Style, Wrapper, clean, clipped, display_width, wrapped
from edgecritic.verdict import OrderVerdict, Preference, Ranking, Timings, Usage, Verdict

MARGIN = "  "
_LABEL = 10  # columns of the labels on the left
_BAR = 24
_MAX_LEVELS = 6
_TASK_LINES = 4
_STATED = "as it wrote, without probabilities"
_MIN_SHARE = 0.005  # what rounds to less than one percent is not worth a line


def heading(text: str, style: Style) -> str:
    """A title with a rule up to the right edge."""
    title = clipped(text, style.width - 6)
    dash = "─" if style.unicode else "-"
    rule = dash * max(0, style.width - display_width(title) - 4)
    return f"{style.paint(dash * 2, 'dim')} {style.paint(title, 'bold')} {style.paint(rule, 'dim')}"


def field(label: str, text: str, style: Style, *colours: Colour) -> str:
    """A label, and text beside it that is wrapped under itself."""
    indent = MARGIN + " " * _LABEL
    body = wrapped(text, style.width, indent)
    return lead(label, style) + "\n".join(
        style.paint(line, *colours) if n == 0 else indent + style.paint(line.lstrip(), *colours)
        for n, line in enumerate(body.split("\n"))
    )


def lead(label: str, style: Style) -> str:
    """The left side of a `field`, for text that is written behind it later."""
    return MARGIN + style.paint(f"{label:<{_LABEL}}", "dim")


def reason_wrapper(style: Style) -> Wrapper:
    """Wraps a reason that arrives in pieces, behind ``lead("reason", style)``."""
    return Wrapper(style.width, MARGIN + " " * _LABEL)


def task_lines(
    images: Sequence[str], question: str, responses: Mapping[str, str], style: Style
) -> list[str]:
    """What is judged: pictures, question, and the responses by their label, long ones cut."""
    lines = [field("picture", image, style) for image in images]
    for label, text in {"question": question, **responses}.items():
        room = _TASK_LINES * (style.width - _LABEL)
        shown = clipped(text[: 4 * room], room)  # 4: blanks and combining characters take no room
        lines.append(field(label, shown or "(empty)", style))
    return lines


def verdict_head(verdict: Verdict, style: Style) -> list[str]:
    """Score and the probabilities of the levels."""
    if verdict.score is None or verdict.level is None:
        return [_no_verdict(verdict, verdict.mass, style)]
    low, high = min(verdict.probabilities), max(verdict.probabilities)
    share = (verdict.score - low) / (high - low) if high > low else 1.0
    likely = f"most likely {verdict.level} ({_percent(verdict.confidence)})"
    lines = [
        lead("score", style)
        + style.paint(f"{verdict.score:.1f}", "bold", _traffic_light(share))
        + f"  on {low} to {high}, {_STATED if verdict.basis == 'text' else likely}"
    ]
    if verdict.interval is not None:
        least, most = verdict.interval
        lines.append(field("interval", f"{least:.1f} to {most:.1f}", style))
    if verdict.basis == "text":
        return lines
    likeliest = sorted(verdict.probabilities.items(), key=lambda item: (-item[1], item[0]))
    shown = sorted(level for level, p in likeliest[:_MAX_LEVELS] if p >= _MIN_SHARE)
    lines += [
        _bar_line(str(level), verdict.probabilities[level], style, level == verdict.level)
        for level in shown
    ]
    rest = 1.0 - sum(verdict.probabilities[level] for level in shown)
    if rest >= _MIN_SHARE:
        lines.append(_bar_line("others", rest, style))
    return lines


def preference_head(preference: Preference, style: Style) -> list[str]:
    """The winner, the probabilities, and how far both orders agree."""
    if preference.winner is None:
        mass = min((order.mass for order in preference.orders), default=0.0)
        return [_no_verdict(preference, mass, style)]
    winner = "a tie" if preference.winner == "tie" else preference.winner
    sure = _STATED if preference.basis == "text" else f"({_percent(preference.confidence)})"
    lines = [
        lead("better", style)
        + style.paint(winner, "bold", "cyan")
        + f"  {sure}, "
        + _agreement(preference.consistent, style)
    ]
    if preference.basis == "text":
        return lines
    lines += [
        _bar_line(outcome, share, style, outcome == preference.winner)
        for outcome, share in preference.probabilities.items()
    ]
    if len(preference.orders) > 1:
        lines += [_order_line(order, style) for order in preference.orders]
    return lines


def _agreement(consistent: bool | None, style: Style) -> str:
    if consistent is None:
        return "one order only"
    return "both orders agree" if consistent else style.paint("the orders disagree", "yellow")


def _order_line(order: OrderVerdict, style: Style) -> str:
    shares = ", ".join(f"{name} {_percent(share)}" for name, share in order.probabilities.items())
    shown = "as given" if order.shown_first == "first" else "swapped"
    return field("", f"{shown}: {shares}", style, "dim")


def ranking_card(ranking: Ranking, responses: Sequence[str], style: Style) -> str:
    """The responses, best first, each with its reward."""
    lines = []
    if ranking.status != "ok":
        lines.append(
            lead("status", style)
            + style.paint(f"{ranking.status}: not every judgement could be made", "yellow")
        )
    for place, index in enumerate(ranking.order, start=1):
        reward = ranking.rewards[index]
        worth = "    ?" if reward is None else _reward(reward, signed=not ranking.verdicts)
        text = clipped(responses[index], style.width - 32) or "(empty)"
        name = style.paint(f"response {index + 1}", *(("bold", "cyan") if place == 1 else ()))
        lines.append(f"{MARGIN}{place:>3}.  {worth}  {name}  {style.paint(text, 'dim')}")
    lines += _grounds(ranking, style)
    return "\n".join([*lines, costs(ranking.usage, ranking.timings, "", style)])


def _grounds(ranking: Ranking, style: Style) -> list[str]:
    """How sure an adaptive order is, and preferences that contradict each other."""
    lines = []
    if ranking.confidence is not None:
        k = len(ranking.rewards)
        told = f"{ranking.judgements} of {k * (k - 1)} ordered pairs judged"
        lines.append(field("order", f"{told}, {_percent(ranking.confidence)} sure", style))
    for circle in ranking.cycles:
        told = " beats ".join(str(index + 1) for index in (*circle, circle[0]))
        lines.append(field("cycle", f"response {told}", style, "yellow"))
    return lines


def _reward(reward: float, signed: bool) -> str:
    return f"{reward:+5.2f}" if signed else f"{reward:5.2f}"


def costs(usage: Usage, timings: Timings, critic: str, style: Style) -> str:
    """Tokens, seconds and the critic's name."""
    parts = [f"{usage.prompt_tokens} tokens read ({usage.image_tokens} of pictures)"]
    if usage.rationale_tokens:
        parts.append(f"{usage.rationale_tokens} written")
    parts.append(f"{timings.total:.2f} s")
    if critic:
        parts.append(clean(critic))
    return field("", ", ".join(parts), style, "dim")


def verdict_card(verdict: Verdict, style: Style) -> str:
    """A whole pointwise judgement."""
    return _card(verdict_head(verdict, style), verdict, style)


def preference_card(preference: Preference, style: Style) -> str:
    """A whole pairwise judgement."""
    return _card(preference_head(preference, style), preference, style)


def _card(head: list[str], judged: Verdict | Preference, style: Style) -> str:
    head = [*head, *caution(judged, style)]
    if judged.rationale is not None:
        head = [*head, field("reason", judged.rationale, style)]
    return "\n".join([*head, costs(judged.usage, judged.timings, judged.critic, style)])


def caution(judged: Verdict | Preference, style: Style) -> list[str]:
    """What a reader should know of how it was judged."""
    if judged.detail == "full":
        return []
    return [field("detail", "reduced: a cap took detail from the picture", style, "yellow")]


def _no_verdict(judged: Verdict | Preference, mass: float, style: Style) -> str:
    if judged.status == "cancelled":
        why = "cancelled before a verdict was reached"
    elif judged.basis == "text":
        why = "what it wrote states no verdict"
    else:
        why = f"no verdict can be read: its words hold {_percent(mass)} of the probability"
    return field("verdict", f"{judged.status}: {why}", style, "yellow")


def _bar_line(label: str, share: float, style: Style, chosen: bool = False) -> str:
    bar = style.paint(style.bar(share, min(_BAR, style.width - 24)), *(("cyan",) if chosen else ()))
    return f"{MARGIN}{' ' * _LABEL}{label:<6} {bar} {_percent(share):>4}"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.0f}%"


def _traffic_light(share: float) -> Colour:
    if share >= 2 / 3:
        return "green"
    return "yellow" if share >= 1 / 3 else "red"
