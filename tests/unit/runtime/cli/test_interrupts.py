"""Ctrl-C where engines are: inside C code that calls Python."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from command_line import Ran
from edgecritic.backends.base import Append, CancelToken, FloatArray
from edgecritic.backends.scripted import ScriptedBackend
from edgecritic.cli.interrupts import cancelling
from edgecritic.critic import Critic
from scripted_critic import scripted_critic

Run = Callable[..., Ran]
TASK = ("--question", "What?", "--response", "right", "--response", "wrong")


pytestmark = pytest.mark.usefixtures("interruptible")


def interrupt_in_a_callback() -> None:
    """What happens when the user presses Ctrl-C while C code asks Python something."""
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))()


@pytest.mark.parametrize("command", ["score", "compare", "rank", "demo"])
def test_while_the_critic_is_loaded(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_args: object, **_options: object) -> Critic:
        interrupt_in_a_callback()
        return scripted_critic()

    monkeypatch.setattr(Critic, "load", load)
    ran = run(command, *(() if command == "demo" else TASK))
    assert (ran.status, ran.out, ran.err.strip()) == (130, "", "interrupted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("command", ["score", "compare", "rank", "demo"])
@pytest.mark.parametrize("output", [(), ("--json",)])
def test_while_it_decodes(
    command: str, output: Sequence[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ScriptedBackend.append

    def interrupted(
        self: ScriptedBackend, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        interrupt_in_a_callback()
        assert cancel is not None
        while not cancel.cancelled:  # as an engine that is asked within a batch
            time.sleep(0.001)
        return append(self, appends, cancel)

    monkeypatch.setattr(ScriptedBackend, "append", interrupted)
    ran = run(command, *output, *(() if command == "demo" else TASK))
    assert (ran.status, ran.err.strip()) == (130, "interrupted")
    assert "reason" not in ran.out
    assert "{" not in ran.out


def test_twice_ends_at_once() -> None:
    with cancelling() as token:
        signal.raise_signal(signal.SIGINT)
        assert token.cancelled
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_handlers_and_other_threads_are_left_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with cancelling() as token:
            signal.raise_signal(signal.SIGINT)
            assert not token.cancelled
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    tokens: list[bool] = []

    def elsewhere() -> None:
        with cancelling() as token:
            tokens.append(token.cancelled)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert tokens == [False]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
