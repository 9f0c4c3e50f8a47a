"""Ctrl-C and SIGTERM: the first asks the loop to save and stop, a second quits at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType


class StopRequest:
    """Inside `with`, `number` is 0 until a signal comes; the training loop looks at it."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python sets handlers from the main thread only
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        # os.write: print is not safe inside a handler that may have interrupted a print
        os.write(
            sys.stderr.fileno(), b"\nhlml: saving, then stopping (once more: stop without saving)\n"
        )
