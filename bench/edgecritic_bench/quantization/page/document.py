"""The HTML report: a first page for a reader in a hurry, then everything behind it."""

from __future__ import annotations

from html import escape
from string import Template

from edgecritic_bench.markdown import template
from edgecritic_bench.quantization.page.agreement import cost, drifts
from edgecritic_bench.quantization.page.breakdown import by_gold, calibration, categories
from edgecritic_bench.quantization.page.cards import sample_rows
from edgecritic_bench.quantization.page.divergence import divergence
from edgecritic_bench.quantization.page.first import first_page
from edgecritic_bench.quantization.page.html import words
from edgecritic_bench.quantization.page.manipulation import manipulation
from edgecritic_bench.quantization.page.roundings import roundings
from edgecritic_bench.quantization.page.scores import models, shifts
from edgecritic_bench.quantization.sentences import refused_words
from edgecritic_bench.quantization.words import Report, engines_of


def document(report: Report) -> str:
    """A self-contained page; it fetches nothing and runs nothing."""
    parts = [
        first_page(report),
        cost(report),
        drifts(report),
        shifts(report),
        categories(report),
        calibration(report),
        models(report),
        manipulation(report),
        divergence(report),
        roundings(report),
        sample_rows(report),
        by_gold(report),
        _made(report),
    ]
    return Template(template("quantization.html")).substitute(body="\n".join(filter(None, parts)))


def _made(report: Report) -> str:
    made, sample, rows = report["made"], report["sample"], report["rows"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"])
    engines = "; ".join(
        f"{escape(engine)}: {escape(', '.join(names))}" for engine, names in engines_of(report)
    )
    refused = "".join(words(line) for line in refused_words(report))
    return f"""<h2>How it was measured</h2>
<p>Every arm judged the same {rows["judged"]:,} rows of {rows["planned"]:,} planned ones: at most
{sample["pairs"]:,} pairs and {sample["scores"]:,} scores drawn from
{escape(", ".join(sample["data"]))}, at most {sample["per_item"]} of each from one item, seed
{sample["seed"]}; and {sample["attacks"]} pairs manipulated in every way, by the arms that the
section on manipulation names. Pairs were judged in both orders, reconciled in log-space. Rows of
one picture were judged in one call, since their prompts begin alike; times are theirs, without the
picture's features, which arms with the same vision tower shared. The re-run judged everything again
in a process of its own, with another number of threads.</p>
<p>Rows of one item share a picture, so items are resampled, not rows: 2,000 bootstrap resamples,
2.5 and 97.5 percentiles; shares with one row an item have Wilson's interval. Claims
of parity are two one-sided tests at 5% each, so the 90% interval has to lie within the margin, and
a claim that the sample cannot support is refused. Unread verdicts of pairs count as wrong; unread
scores are left out and counted.</p>
{refused}<table><tbody>
<tr><td>machine</td><td class="words">{escape(made["machine"])}</td></tr>
<tr><td>system</td><td class="words">{escape(made["system"])}</td></tr>
<tr><td>engines</td><td class="words">{engines}</td></tr>
<tr><td>versions</td><td class="words">{escape(versions)}</td></tr>
<tr><td>date</td><td class="words">{escape(made["date"])}</td></tr>
<tr><td>command</td><td class="words"><code>{escape(made["command"])}</code></td></tr>
</tbody></table>"""
