"""A worker process ends whenever it is told to."""

from __future__ import annotations

import asyncio
import multiprocessing

import pytest

from edgecritic.server.process import WorkerProcess
from serving import ScriptedSource


@pytest.mark.parametrize("seconds", [0, 0.001, 0.01])
def test_a_process_that_is_just_being_started_is_ended_too(seconds: float) -> None:
    before = set(multiprocessing.active_children())

    async def left_in_the_middle() -> None:
        process = WorkerProcess(ScriptedSource())
        starting = asyncio.create_task(process.start())
        await asyncio.sleep(seconds)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await process.stop()

    asyncio.run(left_in_the_middle())
    assert set(multiprocessing.active_children()) <= before


def test_a_process_that_was_ended_first_is_not_started() -> None:
    async def ended_first() -> int | None:
        process = WorkerProcess(ScriptedSource())
        await process.stop()
        await process.start()
        return process.pid

    assert asyncio.run(ended_first()) is None
