"""Carrying drawn labels to other frames in a process of its own, whose death harms nobody."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

from thriftseg.annotation.page.refusals import Conflict
from thriftseg.errors import ThriftsegError
from thriftseg.labels import Repropagation, create_propagator
from thriftseg.stores import LabelStore
from thriftseg.types import Frame
from thriftseg.workers import exit_with_parent

JobState = Literal["running", "done", "failed", "cancelled"]


class PropagationMethod(NamedTuple):
    """What carries labels.

    Attributes:
        name: Name of a propagator.
        settings: Arguments of its class.
    """

    name: str
    settings: Mapping[str, Any]


class BackgroundPropagation:
    """One propagation at a time, in the background.

    Args:
        method: What carries labels.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CAMVID
        >>> propagation = BackgroundPropagation(PropagationMethod("nearest", {}))
        >>> propagation.cancel()  # nothing runs, and nothing happens
        >>> with tempfile.TemporaryDirectory() as root:
        ...     propagation.job(LabelStore(root, "nearest", CAMVID)) is None
        True
    """

    def __init__(self, method: PropagationMethod) -> None:
        self.method = method
        self._process: Any = None
        self._connection: Connection | None = None
        self._video, self._total, self._state, self._message = 0, 0, "done", ""
        self._frames: set[Frame] = set()
        self._before: dict[Frame, object] = {}

    def start(self, video: int, arguments: Mapping[str, Any], store: LabelStore) -> None:
        """Begin.

        Args:
            video: Which video of the page it is about.
            arguments: Those of `label_repropagate`.
            store: The labels that are made.

        Raises:
            Conflict: One is running.
        """
        if self._process is not None:
            raise Conflict("labels are being propagated already", fix="wait for it, or cancel it")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_carry, args=(theirs, self.method, dict(arguments)))
        process.start()
        theirs.close()
        self._process = process  # one that could not be started does not keep others from it
        self._connection, self._video, self._total, self._state, self._message = ours, video, 0, "running", ""
        self._frames = {(name, number) for name, numbers in arguments["frames"].items() for number in numbers}
        self._before = _made(store, self._frames)

    def cancel(self) -> None:
        """End it; what was made stays."""
        if self._process is not None:
            self._end("cancelled", "cancelled")

    def job(self, store: LabelStore) -> dict[str, Any] | None:
        """What the page shows of it; `None` where there was none."""
        self._listen()
        if not self._frames:
            return None
        made = _made(store, self._frames)
        done = sum(made[frame] != self._before.get(frame) for frame in made)
        return {
            "video": self._video,
            "done": done,
            "total": max(self._total, done),
            "state": self._state,
            "message": self._message,
        }

    def _listen(self) -> None:
        while self._process is not None and self._connection is not None and self._connection.poll():
            try:
                what, told = self._connection.recv()
            except (EOFError, OSError):
                self._process.join()
                code = self._process.exitcode or 0
                how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
                self._end("failed", f"the process that propagates ended {how}")
                return
            if what == "total":
                self._total = told
            else:
                self._end(what, told)

    def _end(self, state: JobState, message: str) -> None:
        process, self._process = self._process, None
        process.terminate()
        process.join()
        if self._connection is not None:
            self._connection.close()
        self._state, self._message = state, message


def _made(store: LabelStore, frames: set[Frame]) -> dict[Frame, object]:
    """What tells a label from one that was made later."""
    return {
        frame: (store.labels[frame].sha256, store.reviews.times_remade(*frame))
        for frame in frames
        if frame in store.labels
    }


def _carry(connection: Connection, method: PropagationMethod, arguments: dict[str, Any]) -> None:
    """Work of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it also ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        given = {name: arguments.pop(name) for name in ("object_unit", "save_objects")}
        again = Repropagation(**arguments)
        connection.send(("total", again.plan().targets))
        propagator = create_propagator(method.name, **method.settings)
        connection.send(("done", str(again.run(propagator, progress=False, **given))))
    except ThriftsegError as error:
        connection.send(("failed", str(error)))
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}"))
