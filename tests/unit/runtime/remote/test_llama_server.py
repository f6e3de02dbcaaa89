"""A real llama.cpp server, asked by `Critic.remote`, against our own engine on the same model.

It is llama-cpp-python's, run by the Python of the tests or by the one that
``EDGECRITIC_SERVER_PYTHON`` names. With ``EDGECRITIC_LLAMA_SERVER`` naming llama.cpp's own
``llama-server``, which no package brings, that one is asked, too.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

import llama_server
from edgecritic import CancelToken, Critic, Rubric, Verdict
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.judging.layout import Layout
from edgecritic.judging.reading import read_verdicts
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect, render
from edgecritic.remote import RemoteOptions
from edgecritic.remote.address import Address
from edgecritic.remote.calls import Call
from edgecritic.remote.client import Client
from edgecritic.remote.endpoint import Endpoint, Question
from edgecritic.remote.forms import Form
from edgecritic.remote.messages import chat
from edgecritic.remote.verdicts import follow
from edgecritic.task import Task
from tiny_models import (
    LanguageModelShape,
    language_tensors,
    vocabulary,
    write_language_model,
)

pytestmark = pytest.mark.server
PYTHON = os.environ.get("EDGECRITIC_SERVER_PYTHON", sys.executable)
LLAMA_SERVER = os.environ.get("EDGECRITIC_LLAMA_SERVER")
QUESTION = "Which digit is this?"
RUBRIC = Rubric(1, 5)
# Between the orders in which two builds of llama.cpp sum, on float32 weights; measured: 1e-3.
NATS = 4e-3


def write_speaking_model(path: Path, verdicts: str) -> Path:
    """A random model that has learned one thing: a blank behind a colon, and then a verdict.

    How the characters of `verdicts` share what follows the blank depends on the prompt.
    """
    shape = LanguageModelShape()
    tensors = language_tensors(shape, np.random.default_rng(3))
    tokens = vocabulary()
    embeddings = np.asarray(tensors["model.embed_tokens.weight"])
    head = np.array(tensors["lm_head.weight"]) * 0.5
    for before, after in {":": "Ġ", "Ġ": verdicts, verdicts: "Ċ", "Ċ": "R"}.items():
        for token in before:
            for following in after:
                head[tokens.index(following)] += 0.25 * embeddings[tokens.index(token)]
    tensors["lm_head.weight"] = head.astype(np.float32)
    write_language_model(tensors, shape, path)
    return path


@contextmanager
def served(*command: str) -> Iterator[str]:
    """A server as a process, ready to be asked; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(f"http://127.0.0.1:{port}/v1/models"):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                _out, said = process.communicate()
                raise AssertionError(said.decode()[-2000:])
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except (URLError, OSError):
        return False


class Bench:
    """Servers and our own engine on the same models, each started when it is asked for."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder = folder
        self._opened = opened
        self.model = cache(self._model)
        self.url = cache(self._url)
        self.local = cache(self._local)

    def _model(self, verdicts: str) -> Path:
        return write_speaking_model(self._folder / f"{verdicts}.gguf", verdicts)

    def _url(self, kind: str, verdicts: str) -> str:
        model = str(self.model(verdicts))
        if kind == "llama-server":
            if LLAMA_SERVER is None:
                pytest.skip("EDGECRITIC_LLAMA_SERVER names no llama-server")
            options = ["-c", "4096", "-np", "2", "-t", "1", "--chat-template", "chatml"]
            command = [LLAMA_SERVER, "-m", model, *options]
        else:
            command = python_server(model, *kind.split()[1:])
        return self._opened.enter_context(served(*command))

    def _local(self, verdicts: str) -> Critic:
        options = EngineOptions(n_ctx=1024, n_threads=1)
        backend = LlamaCppBackend(self.model(verdicts), mmproj=None, adapters=[], options=options)
        return self._opened.enter_context(Critic(backend, CriticProfile("local", load_dialect())))


def python_server(model: str, *options: str) -> list[str]:
    return [PYTHON, str(llama_server.__file__), model, *options]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with ExitStack() as opened:
        yield Bench(tmp_path_factory.mktemp("speaking"), opened)


DIGITS, WORDS = "12345", "fst"
both_kinds = pytest.mark.parametrize("kind", ["python --continues --logprobs", "llama-server"])


@both_kinds
@pytest.mark.parametrize("response", ["It is a 7.", "No idea at all.", ""])
def test_scores_are_those_of_our_own_engine(bench: Bench, kind: str, response: str) -> None:
    asked = (None, QUESTION, response)
    here = bench.local(DIGITS).score(*asked, rubric=RUBRIC, rationale=False)
    with Critic.remote(bench.url(kind, DIGITS), "tiny") as critic:
        there = critic.score(*asked, rubric=RUBRIC, rationale=False)
    assert (here.status, there.status) == ("ok", "ok")
    assert there.template == here.template
    for level, probability in here.probabilities.items():
        assert math.log(there.probabilities[level] / probability) == pytest.approx(0, abs=NATS)
    assert there.mass == pytest.approx(here.mass, abs=NATS)
    assert there.score == pytest.approx(here.score, abs=NATS)


@both_kinds
def test_the_words_log_probs_are_those_of_our_own_engine(bench: Bench, kind: str) -> None:
    """Read without `Critic`: the model knows the words' first letters only."""
    dialect = load_dialect()
    task = Task(QUESTION, ("It is a 7.", "A 1."))
    prompt = render(task, dialect)
    form = Form.of(prompt, dialect, task.rubric)
    options = RemoteOptions()
    client = Client(Address.of(bench.url(kind, WORDS), options, {}), options)
    question = Question(chat(prompt, dialect, []), 4, begun=form.lead_in, log_probs=True)
    reply = Call(partial(Endpoint(client, "tiny", "always").ask, question)).result(None)
    found = follow(reply.tokens, form.lead_in, form)
    assert found is not None
    backend = LlamaCppBackend(
        bench.model(WORDS), mmproj=None, adapters=[], options=EngineOptions(n_ctx=1024, n_threads=1)
    )
    laid = Layout(backend, dialect).lay(task, [], 0)
    (joint,) = read_verdicts(backend, [laid]).joints
    backend.close()
    assert np.exp(joint).sum() > 0.5
    assert found.reading.joint == pytest.approx(joint, abs=NATS)


@both_kinds
def test_the_reason_is_that_of_our_own_engine(bench: Bench, kind: str) -> None:
    here = bench.local(DIGITS).score(None, QUESTION, "7", rubric=RUBRIC, max_rationale_tokens=6)
    with Critic.remote(bench.url(kind, DIGITS), "tiny") as critic:
        there = critic.score(None, QUESTION, "7", rubric=RUBRIC, max_rationale_tokens=6)
    assert there.level == here.level
    assert here.rationale
    assert there.rationale is not None
    # The Python server leaves out bytes that make no character.
    assert there.rationale.replace("\ufffd", "") == here.rationale.replace("\ufffd", "")


@both_kinds
def test_a_reason_is_cancelled_at_once(bench: Bench, kind: str) -> None:
    cancel = CancelToken()
    with Critic.remote(bench.url(kind, DIGITS), "tiny") as critic:
        stream = critic.score_stream(
            None, QUESTION, "7", rubric=RUBRIC, cancel=cancel, max_rationale_tokens=800
        )
        next(stream)
        next(stream)
        cancel.cancel()
        started = time.perf_counter()
        *_, last = stream
    assert time.perf_counter() - started < 0.25
    assert isinstance(last, Verdict)
    assert last.status == "cancelled"


@pytest.mark.parametrize("kind", ["python --logprobs", "python"])
def test_a_server_that_does_not_continue_is_asked_in_words(bench: Bench, kind: str) -> None:
    options = RemoteOptions(retries=1)
    with Critic.remote(bench.url(kind, DIGITS), "tiny", options=options) as critic:
        verdict = critic.score(None, QUESTION, "It is a 7.", rationale=False)
    # A random model does not follow the form; what it says must not become a score.
    assert verdict.template.endswith("+form")
    assert verdict.status == "unparsed"
    assert verdict.usage.prompt_tokens > 0
