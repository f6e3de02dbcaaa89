"""Connections that never finish the head of a request do not stay."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def patient(head_s: float) -> type[H11Protocol]:
    """Protocol of uvicorn that waits for a head so many seconds and no longer.

    uvicorn itself closes connections that are idle between two requests.
    """

    class Patient(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        # The annotation is the one of uvicorn, narrower than the one of asyncio.
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_waiting()

        def _wait(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._late is None:
                self._late = self.loop.call_later(head_s, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Patient
