"""The model card of a bundle: what a person on a model hub wants to know, from ``critic.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgecritic.manifest import BundleFile, Manifest
from edgecritic_export.bundles.facts import BASE_LICENCE, DATA_LICENCES
from edgecritic_export.verify.checks import Check, table

CARD = "README.md"
_SEE_BASE = "not stated here; see where it comes from"
_LIBRARIES = {"gguf": "gguf", "onnx": "onnx", "hf": "transformers"}


def model_card(manifest: Manifest) -> str:
    """Markdown with the hub's metadata in front.

    Args:
        manifest: of the bundle that the card shall lie in.
    """
    parts = [
        _metadata(manifest),
        f"# {manifest.name} {manifest.version}\n",
        f"A multimodal critic: it scores and compares answers to questions about pictures, with "
        f"probabilities and reasons. Made from `{manifest.base_model}` on {manifest.created[:10]} "
        "by [edgecritic](https://github.com/edgecritic/edgecritic), which also runs it:\n",
        f"```\npip install 'edgecritic[{_extra(manifest)}]'\n"
        "edgecritic compare --bundle FOLDER --image PICTURE --question TEXT \\\n"
        "    --response TEXT --response TEXT\n```\n",
        "## Files\n",
        *_files(manifest),
        "## Does it judge as its checkpoint does?\n",
        *_verification(manifest),
        "## Use and limits\n",
        *_use(manifest),
        "## Origin\n",
        *_origin(manifest),
    ]
    return "\n".join(parts)


def write_card(folder: Path, manifest: Manifest) -> Path:
    """Put the card into a bundle's folder; returns its path."""
    path = folder / CARD
    path.write_text(model_card(manifest), encoding="utf-8", newline="\n")
    return path


def _metadata(manifest: Manifest) -> str:
    tags = ["critic", "llm-as-a-judge", "edgecritic", *manifest.formats]
    facts: dict[str, object] = {
        "license": manifest.licence.lower(),
        "base_model": manifest.base_model,
        "library_name": _LIBRARIES[manifest.formats[0]],
        "pipeline_tag": "text-generation" if manifest.image is None else "image-text-to-text",
        "tags": tags,
    }
    # JSON is YAML, and quotes what needs quotes.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items())
    return "---\n" + "\n".join(lines) + "\n---\n"


def _extra(manifest: Manifest) -> str:
    return {"gguf": "llama", "onnx": "onnx", "hf": "hf"}[manifest.formats[0]]


def _files(manifest: Manifest) -> Iterator[str]:
    yield "| file | role | type | MB |"
    yield "|---|---|---|---|"
    for file in manifest.files:
        yield f"| {_name(file)} | {file.role} | {file.quant} | {file.size / 1e6:,.1f} |"
    yield ""


def _name(file: BundleFile) -> str:
    return f"`{file.path}`" + (" (fetched by `edgecritic models pull`)" if file.external else "")


def _verification(manifest: Manifest) -> Iterator[str]:
    found = manifest.verification
    if not isinstance(found, Mapping):
        yield "It was not checked against its checkpoint. Treat its verdicts accordingly.\n"
        return
    outcome = "It passed all checks" if found["passed"] else "**It failed at least one check**"
    yield f"{outcome}, on {found.get('rows', '?')} pairs.\n"
    yield table([Check(**check) for check in found.get("checks", ())])


def _use(manifest: Manifest) -> Iterator[str]:
    low, high = manifest.rubric.low, manifest.rubric.high
    yield f"It scores from {low} to {high} and was made for up to {manifest.n_ctx:,} tokens."
    for heading, texts in (("Good for", manifest.good_for), ("Not for", manifest.bad_for)):
        if texts:
            yield f"\n{heading}:\n"
            yield from (f"- {text}" for text in texts)
    yield "\nA critic's score is an estimate. Do not let it decide about people.\n"


def _origin(manifest: Manifest) -> Iterator[str]:
    yield f"- Base model: {manifest.base_model}"
    yield f"- Licence of these files: {manifest.licence}"
    training = manifest.training if isinstance(manifest.training, Mapping) else {}
    yield f"- Licence of the base model: {training.get(BASE_LICENCE, _SEE_BASE)}"
    yield f"- Licences of the training data: {training.get(DATA_LICENCES, 'not stated')}"
    yield f"- Prompts: {manifest.dialect.name}, sha256 {manifest.dialect.digest[:12]}"
    for heading, facts in (("Training", manifest.training), ("Rounding", manifest.rounding)):
        if facts is not None:
            yield f"- {heading}:\n"
            yield "```json"
            yield json.dumps(facts, indent=1, ensure_ascii=False)
            yield "```"
    yield ""
