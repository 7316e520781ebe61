"""Ctrl-C between two steps, never within one, for the loops that run in Python."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any


class Held:
    """Holds Ctrl-C back while its block runs: `check`, and leaving the block, let it through.

    Only the main thread receives signals; elsewhere this does nothing. The handler found on entry is put back on exit.
    """

    def __enter__(self) -> Held:
        self._held: tuple[int, Any] | None = None
        self._previous = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
        if callable(self._previous):
            signal.signal(signal.SIGINT, self._hold)
        return self

    def _hold(self, number: int, frame: Any) -> None:
        self._held = (number, frame)

    def check(self) -> None:
        """Hand a held signal to the handler it was meant for."""
        if self._held is not None and callable(self._previous):
            held, self._held = self._held, None
            self._previous(*held)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if callable(self._previous):
            signal.signal(signal.SIGINT, self._previous)
        self.check()
