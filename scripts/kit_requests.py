"""Requests of evaluation kits, built by the kits' own code, and their answers read by it.

    python scripts/kit_requests.py record --kits DIR > tests/fixtures/kit_requests.jsonl
    python scripts/kit_requests.py replay --kits DIR --server http://127.0.0.1:8642

DIR holds unpacked sources: ``lmms-eval`` and ``VLMEvalKit`` (checkouts), ``deepeval`` and ``ragas``
(wheels), ``promptfoo`` (the npm package). Of each module only what is named here is executed, with
the network and heavy imports replaced; ``docs/server.md`` says which versions were recorded.
"""

from __future__ import annotations

import argparse
import ast
import base64
import io
import json
import re
import subprocess
import sys
import types
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment
from PIL import Image

PICTURES = Path(__file__).parents[1] / "runtime" / "edgecritic" / "demo_images"
TASKS = [
    ("Which digit is this?", "It is a 7.", "It is a 1.", "7", "seven.png"),
    ("What digit does the picture show?", "A seven.", "A nine, written by hand.", "7", "seven.png"),
    ("What do you see?", "A drawing of several things.", "Nothing at all.", "things", "scene.png"),
    ("What kind of chart is this?", "A chart with bars or slices.", "A map.", "chart", "chart.png"),
]
Body = dict[str, Any]
Row = dict[str, Any]


def taken(path: Path, *names: str, **given: Any) -> Any:
    """The named assignments, functions and classes of a module, executed alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kept = [node for node in tree.body if _names(node) & set(names)]
    space: dict[str, Any] = {"re": re, "json": json, "base64": base64, "__name__": "taken", **given}
    exec(compile(ast.Module(kept, []), str(path), "exec"), space)  # noqa: S102 - the kits' code
    return types.SimpleNamespace(**space)


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    return set()


class Captured:
    """Stands in for `requests`: keeps what was to be posted."""

    body: Body

    def post(self, _url: str, **kwargs: Any) -> Any:
        self.body = kwargs.get("json") or json.loads(kwargs["data"])
        answer = {"choices": [{"message": {"content": "captured"}}]}
        content = json.dumps(answer).encode()
        return types.SimpleNamespace(
            raise_for_status=lambda: None, json=lambda: answer, content=content
        )


class Quiet:
    """Stands in for loggers."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


def row(client: str, source: str, parser: str, body: Body) -> Row:
    return {"client": client, "source": source, "parser": parser, "body": body}


def picture(name: str) -> Image.Image:
    return Image.open(PICTURES / name).convert("RGB")


def encoded(name: str) -> str:
    file = io.BytesIO()
    picture(name).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


# --- lmms-eval ---


def lmms_eval(root: Path) -> Iterator[Row]:
    tasks = root / "lmms_eval" / "tasks"
    yield from lmms_pairs(tasks)
    yield from lmms_scores(tasks)
    yield from lmms_judges(root / "lmms_eval" / "llm_judge")


def lmms_pairs(tasks: Path) -> Iterator[Row]:
    posted = Captured()
    wild = taken(
        tasks / "wild_vision_bench" / "utils.py",
        "system_prompt",
        "prompt_template",
        "get_chat_response",
        requests=posted,
        API_KEY="key",
        API_URL="url",
        GPT_EVAL_MODEL_NAME="gpt-4o-2024-08-06",
        eval_logger=Quiet(),
    )
    for question, good, bad, _, name in TASKS:
        prompt = wild.prompt_template.format(question_1=question, answer_1=good, answer_2=bad)
        wild.get_chat_response(encoded(name), prompt)
        source = "tasks/wild_vision_bench/utils.py"
        yield row("lmms-eval", source, "wild_vision_bench", posted.body)
    reward = taken(
        tasks / "vl_rewardbench" / "utils.py",
        "LLM_PARSE_ANSWER_PROMPT",
        "get_prompt",
        "parse_by_llm",
        requests=posted,
        API_URL="url",
        headers={},
    )
    for number, (question, good, bad, _, name) in enumerate(TASKS):
        prompt = reward.get_prompt({"response": [good, bad], "query": question}, number % 2)
        yield row(
            "lmms-eval", "tasks/vl_rewardbench/utils.py", "vl_rewardbench", asked(prompt, name)
        )
    reward.parse_by_llm("Both are fine, but overall Answer 2 is better.")
    yield row("lmms-eval", "tasks/vl_rewardbench/utils.py", "answer_number", posted.body)
    multimodal = taken(
        tasks / "multimodal_rewardbench" / "utils.py", "judge_prompt", "get_judge_prompt"
    )
    for question, good, bad, _, name in TASKS:
        doc = {"Text": question, "Output1": bad, "Output2": good}
        body = asked(multimodal.get_judge_prompt(doc), name)
        source = "tasks/multimodal_rewardbench/utils.py"
        yield row("lmms-eval", source, "multimodal_rewardbench", body)


def asked(prompt: str, name: str) -> Body:
    """As lmms-eval's OpenAI-compatible model asks: models/chat/openai.py."""
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(name)}"}},
        {"type": "text", "text": prompt},
    ]
    return {
        "model": "gpt-4o-2024-11-20",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 1024,
        "temperature": 0,
    }


def lmms_scores(tasks: Path) -> Iterator[Row]:
    seen: dict[str, Any] = {}

    def request(**kwargs: Any) -> Any:
        seen["messages"] = kwargs["messages"]
        return None

    common = {
        "Request": request,
        "ServerConfig": lambda **kwargs: seen.update(kwargs),
        "server": types.SimpleNamespace(
            evaluate=lambda _request: types.SimpleNamespace(content="1", model_used="m")
        ),
        "eval_logger": Quiet(),
    }

    def body() -> Body:
        return {
            "model": "gpt-4o-2024-11-20",
            "messages": seen["messages"],
            "temperature": seen["temperature"],
            "max_tokens": seen["max_tokens"],
        }

    wilder = taken(
        tasks / "llava_wilder" / "utils.py",
        "judge_rules",
        "get_chat_response",
        "image_to_base64",
        "parse_score",
        "llava_process_results",
        "llava_doc_to_visual",
        GPT_EVAL_MODEL_NAME="gpt-4o-2024-11-20",
        BytesIO=io.BytesIO,
        **common,
    )
    for question, good, bad, _, name in TASKS:
        doc = {"Question": question, "Answer": good, "image": picture(name)}
        wilder.llava_process_results(doc, [bad])
        yield row("lmms-eval", "tasks/llava_wilder/utils.py", "llava_wilder", body())
    vet = taken(
        tasks / "mmvet" / "utils.py",
        "MM_VET_PROMPT",
        "get_chat_response",
        MODEL_VERSION="gpt-4o-2024-11-20",
        **common,
    )
    for question, good, _, truth, _ in TASKS:
        vet.get_chat_response(f"{vet.MM_VET_PROMPT}\n{question} | {truth} | {good} |")
        yield row("lmms-eval", "tasks/mmvet/utils.py", "lmms_mmvet", body())
    rules = json.loads((tasks / "llava-in-the-wild" / "rule.json").read_text())
    for category, (question, good, bad, _, _) in zip(
        ("conv", "detail", "complex"), TASKS, strict=False
    ):
        rule = rules[f"llava_bench_{category}"]
        role = rule.get("role", "user")
        content = (
            f"[Context]\nA picture.\n\n[Question]\n{question}\n\n[{role} 1]\n{good}\n\n"
            f"[End of {role} 1]\n\n[{role} 2]\n{bad}\n\n[End of {role} 2]\n\n"
            f"[System]\n{rule['prompt']}\n\n"
        )
        seen["messages"] = [{"role": "user", "content": content}]
        yield row("lmms-eval", "tasks/llava-in-the-wild/utils.py", "comparative", body())


def lmms_judges(judge: Path) -> Iterator[Row]:
    prompts = taken(
        judge / "prompt.py",
        "BINARY_JUDGE_PROMPT",
        "COMPARATIVE_JUDGE_PROMPT",
        "CORRECTNESS_JUDGE_PROMPT",
    )
    builder = taken(
        judge / "utils.py",
        "JudgePromptBuilder",
        **_names_of_types(),
        **{name: text for name, text in vars(prompts).items() if name.endswith("_PROMPT")},
    ).JudgePromptBuilder
    for question, good, bad, truth, _ in TASKS[:2]:
        for parser, prompt in (
            ("binary", builder.build_binary_prompt(question, truth, good)),
            ("yes_no", builder.build_binary_prompt(question, truth, bad, "yes/no")),
            ("yes_no", builder.build_correctness_prompt(question, truth, good)),
            ("comparative", builder.build_comparative_prompt(question, good, bad, "A picture.")),
        ):
            body = {
                "model": "gpt-4o-2024-11-20",
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": 1024,
                "temperature": 0.0,
            }
            yield row("lmms-eval", "llm_judge/prompt.py", parser, body)


def _names_of_types() -> dict[str, Any]:
    import typing

    named = ("Any", "Dict", "List", "Optional", "Tuple", "Type", "TypeVar", "Union")
    return {name: getattr(typing, name) for name in named}


# --- VLMEvalKit ---


def vlmevalkit(root: Path) -> Iterator[Row]:
    dataset = root / "vlmeval" / "dataset"
    wild = taken(dataset / "wildvision.py", "SYSTEM_PROMPT", "PROMPT_TEMPLATE")
    for question, good, bad, _, name in TASKS:
        prompt = wild.PROMPT_TEMPLATE.format(question=question, answer_1=good, answer_2=bad)
        yield row(
            "VLMEvalKit",
            "dataset/wildvision.py",
            "wildvision",
            wrapped(prompt, name, system=wild.SYSTEM_PROMPT, max_tokens=4096, detail="high"),
        )
    reward = taken(dataset / "vl_rewardbench.py", "LLM_PARSE_ANSWER_PROMPT", "PROMPT_TEMPLATE")
    for question, good, bad, _, name in TASKS[:2]:
        prompt = reward.PROMPT_TEMPLATE.format(query=question, answer_0=good, answer_1=bad)
        yield row(
            "VLMEvalKit", "dataset/vl_rewardbench.py", "vl_rewardbench", wrapped(prompt, name)
        )
    for judgement in ("Overall Judgment: Answer 1 is better.", "So Answer 2 is slightly better."):
        prompt = reward.LLM_PARSE_ANSWER_PROMPT.format(judgement=judgement)
        body = wrapped(prompt, None, max_tokens=128)
        yield row("VLMEvalKit", "dataset/vl_rewardbench.py", "answer_number", body)
    llava = taken(dataset / "utils" / "llavabench.py", "rule_dict", "build_prompt")
    for category, (question, good, bad, _, _) in zip(
        ("conv", "detail", "complex"), TASKS, strict=False
    ):
        line = {
            "caption": "A picture.",
            "question": question,
            "gpt4_ans": good,
            "prediction": bad,
            "category": category,
        }
        body = wrapped(llava.build_prompt(line), None)
        yield row("VLMEvalKit", "dataset/utils/llavabench.py", "llavabench", body)
    vet = taken(dataset / "utils" / "mmvet.py", "build_mmvet_gpt4_prompt")
    for question, good, _, truth, _ in TASKS[:2]:
        line = {"question": question, "answer": truth, "prediction": good}
        body = wrapped(vet.build_mmvet_gpt4_prompt(line), None)
        yield row("VLMEvalKit", "dataset/utils/mmvet.py", "vlmeval_mmvet", body)
    yield row("VLMEvalKit", "api/base.py", "anything", wrapped("hello", None))


def wrapped(
    prompt: str,
    name: str | None,
    *,
    system: str | None = None,
    max_tokens: int = 2048,
    detail: str = "low",
) -> Body:
    """As VLMEvalKit's OpenAIWrapper asks: api/gpt.py, prepare_inputs and generate_inner."""
    content: list[Body] = [{"type": "text", "text": prompt}]
    if name is not None:
        url = {"url": f"data:image/jpeg;base64,{encoded(name)}", "detail": detail}
        content.append({"type": "image_url", "image_url": url})
    messages: list[Body] = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": content})
    return {
        "model": "gpt-4o-2024-05-13",
        "messages": messages,
        "temperature": 0,
        "max_tokens": max_tokens,
    }


# --- deepeval, ragas, promptfoo ---


def deepeval(root: Path) -> Iterator[Row]:
    folder = root / "deepeval" / "metrics" / "g_eval" / "templates"
    render = Environment().from_string  # noqa: S701 - prompts are no HTML
    fragments = {"multimodal_input_rules": ""}
    for strict in (False, True):
        kind = "generate_strict_evaluation_results" if strict else "generate_evaluation_results"
        template = render((folder / f"{kind}.txt").read_text())
        for number, (question, good, _, truth, name) in enumerate(TASKS[:3]):
            prompt = template.render(
                evaluation_steps="1. Look at the picture.\n2. Compare the answers.\n",
                test_case_content=f"Input:\n{question} \n\nActual Output:\n{good} \n\n"
                f"Expected Output:\n{truth} \n\n",
                parameters="Input, Actual Output, and Expected Output",
                rubric="0-4: wrong\n5-10: right" if number else None,
                score_range=(0, 10),
                _fragments=fragments,
                multimodal=True,
            )
            content = [
                {"type": "text", "text": prompt},
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{encoded(name)}"},
                },
            ]
            body = {
                "model": "gpt-4.1",
                "messages": [{"role": "user", "content": content}],
                "temperature": 0.0,
                "logprobs": True,
                "top_logprobs": 20,
            }
            source = f"metrics/g_eval/templates/{kind}.txt"
            yield row("deepeval", source, "g_eval_strict" if strict else "g_eval", body)
    template = render((folder / "generate_evaluation_steps.txt").read_text())
    prompt = template.render(
        parameters="Input and Actual Output", criteria="Right?", _fragments=fragments
    )
    schema = {
        "properties": {"steps": {"items": {"type": "string"}, "title": "Steps", "type": "array"}},
        "required": ["steps"],
        "title": "Steps",
        "type": "object",
        "additionalProperties": False,
    }
    form = {
        "type": "json_schema",
        "json_schema": {"name": "Steps", "schema": schema, "strict": True},
    }
    body = {
        "model": "gpt-4.1",
        "messages": [{"role": "user", "content": prompt}],
        "response_format": form,
        "temperature": 0.0,
    }
    source = "metrics/g_eval/templates/generate_evaluation_steps.txt"
    yield row("deepeval", source, "steps", body)


def ragas(root: Path) -> Iterator[Row]:
    sys.path.insert(0, str(root))
    from pydantic import BaseModel, Field

    base = taken(
        root / "ragas" / "prompt" / "metrics" / "base_prompt.py",
        "BasePrompt",
        "InputModel",
        "OutputModel",
        **_typing(),
        BaseModel=BaseModel,
    )
    accuracy = taken(
        root / "ragas" / "metrics" / "collections" / "answer_accuracy" / "util.py",
        "AnswerAccuracyInput",
        "AnswerAccuracyOutput",
        "AnswerAccuracyJudge1Prompt",
        "AnswerAccuracyJudge2Prompt",
        BaseModel=BaseModel,
        Field=Field,
        BasePrompt=base.BasePrompt,
    )
    for prompt_class in (accuracy.AnswerAccuracyJudge1Prompt, accuracy.AnswerAccuracyJudge2Prompt):
        for question, good, _, truth, _ in TASKS[:2]:
            data = accuracy.AnswerAccuracyInput(
                query=question, user_answer=good, reference_answer=truth
            )
            schema = json.dumps(accuracy.AnswerAccuracyOutput.model_json_schema(), indent=2)
            system = (
                "As a genius expert, your task is to understand the content and provide\n"
                "the parsed objects in json that match the following json_schema:\n\n\n"
                f"{schema}\n\n"
                "Make sure to return an instance of the JSON, not the schema itself"
            )
            body = {
                "model": "gpt-4o-mini",
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": prompt_class().to_string(data)},
                ],
                "response_format": {"type": "json_object"},
                "temperature": 0.01,
                "top_p": 0.1,
                "max_tokens": 1024,
            }
            source = "metrics/collections/answer_accuracy/util.py"
            yield row("ragas", source, "rating", body)


def _typing() -> dict[str, Any]:
    import typing
    from abc import ABC

    variable = typing.TypeVar("variable")
    return {"t": typing, "typing": typing, "ABC": ABC, "Generic": typing.Generic, "T": variable}


def promptfoo(root: Path) -> Iterator[Row]:
    source = next(
        path
        for path in sorted((root / "dist" / "src").glob("*.js"))
        if "const DEFAULT_GRADING_PROMPT" in path.read_text(errors="replace")
    )
    text = source.read_text(errors="replace")
    system = re.search(r"DEFAULT_GRADING_PROMPT = .*?dedent`(.*?)`", text, re.DOTALL)
    assert system is not None
    for question, good, _, _, _ in TASKS[:3]:
        messages = [
            {"role": "system", "content": re.sub(r"(?m)^    ", "", system[1])},
            {
                "role": "user",
                "content": f"<Output>\n{good}\n</Output>\n<Rubric>\nAnswers: {question}\n</Rubric>",
            },
        ]
        body = {
            "model": "gpt-4.1-2025-04-14",
            "messages": messages,
            "max_tokens": 1024,
            "temperature": 0,
            "response_format": {"type": "json_object"},
            "seed": 1,
        }
        yield row("promptfoo", "DEFAULT_GRADING_PROMPT", "llm_rubric", body)


# --- reading answers by the kits' own code ---


def parsers(kits: Path) -> dict[str, Callable[[Body], object]]:
    """By name what reads an answer; it raises, or returns None, where the kit would give up."""
    lmms, vlm = kits / "lmms-eval" / "lmms_eval", kits / "VLMEvalKit" / "vlmeval" / "dataset"
    quiet = {"eval_logger": Quiet(), "logger": Quiet()}
    wild = taken(lmms / "tasks" / "wild_vision_bench" / "utils.py", "get_score")
    reward = taken(
        lmms / "tasks" / "vl_rewardbench" / "utils.py", "parse_pred_ans", parse_by_llm=_gave_up
    )
    multimodal = taken(
        lmms / "tasks" / "multimodal_rewardbench" / "utils.py",
        "extract_judgment",
        random=types.SimpleNamespace(random=lambda: _gave_up("")),
    )
    wilder = taken(lmms / "tasks" / "llava_wilder" / "utils.py", "parse_score", **quiet)
    responses = taken(
        lmms / "llm_judge" / "utils.py",
        "ResponseParser",
        **_names_of_types(),
    ).ResponseParser
    wildvision = taken(vlm / "wildvision.py", "REGEX_PATTERN", "get_score")
    llava = taken(vlm / "utils" / "llavabench.py", "parse_score", **quiet)
    utils = kits / "deepeval" / "deepeval" / "metrics"
    loading = taken(
        utils / "utils" / "generation.py", "trimAndLoadJson", BaseMetric=object, **_names_of_types()
    )
    weighing = taken(
        utils / "g_eval" / "utils.py",
        "calculate_weighted_summed_score",
        math=__import__("math"),
        ChatCompletion=object,
        **_names_of_types(),
    )

    def scores(pair: list[float]) -> list[float] | None:
        return None if -1 in pair else list(pair)

    def g_eval(body: Body) -> float:
        verdict = loading.trimAndLoadJson(content(body))
        assert isinstance(verdict["reason"], str)
        as_object = json.loads(json.dumps(body), object_hook=lambda d: types.SimpleNamespace(**d))
        return float(weighing.calculate_weighted_summed_score(verdict["score"], as_object))

    def vet(text: str) -> float | None:
        return float(text) if 0 <= float(text) <= 1 else None

    pattern = re.compile(r"\[\[([AB<>=]+)\]\]")
    return {
        "wild_vision_bench": lambda body: wild.get_score(content(body), pattern)[0],
        "vl_rewardbench": lambda body: reward.parse_pred_ans(content(body)),
        "answer_number": lambda body: {"answer 1": 1, "answer 2": 2}[content(body).lower()],
        "multimodal_rewardbench": lambda body: multimodal.extract_judgment(content(body)),
        "llava_wilder": lambda body: scores(wilder.parse_score(content(body))),
        "lmms_mmvet": lambda body: vet(content(body).split(" ")[0].strip()),
        "comparative": lambda body: scores(responses.parse_comparative_response(content(body))),
        "binary": lambda body: {"0": 0, "1": 1}[content(body)],
        "yes_no": lambda body: {"Yes": True, "No": False}[content(body)],
        "wildvision": lambda body: wildvision.get_score(content(body))[0],
        "llavabench": lambda body: scores(llava.parse_score(content(body))),
        "vlmeval_mmvet": lambda body: vet(content(body)),
        "anything": lambda body: content(body) or None,
        "g_eval": g_eval,
        "g_eval_strict": lambda body: int(loading.trimAndLoadJson(content(body))["score"]),
        "steps": lambda body: list(json.loads(content(body))["steps"]),
        "rating": lambda body: int(json.loads(content(body))["rating"]),
        "llm_rubric": lambda body: promptfoo_parse(kits / "promptfoo", content(body)),
    }


def _gave_up(_text: str) -> Any:
    raise ValueError("the kit could not read the answer, and would have guessed")


def content(body: Body) -> str:
    text: str = body["choices"][0]["message"]["content"]
    return text.strip()


def promptfoo_parse(root: Path, text: str) -> object:
    """By promptfoo's own `extractJsonObjects`, in Node."""
    for path in sorted((root / "dist" / "src").glob("*.js")):
        source = path.read_text(errors="replace")
        if found := re.search(r"^function extractJsonObjects\(.*?^}", source, re.DOTALL | re.M):
            break
    else:
        raise ValueError("promptfoo has no extractJsonObjects")
    program = (
        # It reads YAML, of which JSON is a part.
        "const loadYaml=JSON.parse;const convertSlashCommentsToHash=text=>text;"
        f"{found[0]};const parsed=extractJsonObjects({json.dumps(text)})[0];"
        "console.log(JSON.stringify(parsed))"
    )
    ran = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    verdict = json.loads(ran.stdout)
    assert isinstance(verdict["pass"], bool)
    assert isinstance(verdict["reason"], str)
    return float(verdict["score"])


def recorded(kits: Path) -> list[Row]:
    return [
        *lmms_eval(kits / "lmms-eval"),
        *vlmevalkit(kits / "VLMEvalKit"),
        *deepeval(kits / "deepeval"),
        *ragas(kits / "ragas"),
        *promptfoo(kits / "promptfoo"),
    ]


def shortened(rows: list[Row]) -> str:
    """The rows as JSON Lines, with the pictures named instead of held."""
    text = "\n".join(json.dumps(one, ensure_ascii=False) for one in rows) + "\n"
    for name in sorted({task[4] for task in TASKS}):
        text = text.replace(encoded(name), f"{{{{{name}}}}}")
    return text


def replay(rows: list[Row], kits: Path, server: str) -> int:
    """Send all, and have every answer read by its kit; the number that could not be."""
    read, failed = parsers(kits), 0
    for number, one in enumerate(rows, start=1):
        sent = urllib.request.Request(  # noqa: S310 - the address is the caller's
            f"{server}/v1/chat/completions",
            json.dumps(one["body"]).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer sk-none"},
        )
        with urllib.request.urlopen(sent, timeout=600) as answer:  # noqa: S310 - as above
            body = json.loads(answer.read())
        try:
            found = read[one["parser"]](body)
        except (ValueError, KeyError, AssertionError, subprocess.CalledProcessError) as error:
            found = None
            print(f"{number}: {error!r}", file=sys.stderr)
        failed += found is None
        print(json.dumps([number, one["client"], one["parser"], found, content(body)[:120]]))
    print(f"{len(rows) - failed} of {len(rows)} answers read by the kits' code")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("record", "replay"))
    parser.add_argument("--kits", type=Path, required=True)
    parser.add_argument("--server")
    args = parser.parse_args()
    rows = recorded(args.kits)
    if args.action == "record":
        sys.stdout.write(shortened(rows))
        return 0
    return min(1, replay(rows, args.kits, args.server))


if __name__ == "__main__":
    sys.exit(main())
