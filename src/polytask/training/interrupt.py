"""Ctrl-C that waits for the end of the current update."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self, final


@final
class Interrupt:
    """Turns SIGINT and SIGTERM into a request that the loop reads between updates.

    The second Ctrl-C interrupts at once. Outside the main thread Python delivers no signals, so
    the scope does nothing there.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            if handler is not None:  # None: it was not set from Python and cannot be set back
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
