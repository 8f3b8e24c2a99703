"""Exceptions for faults a user can mend.

Each says in one line which file is meant, what was expected, what was found and how to fix it.
The command line prints that line (and the optional detail under it) and exits with code 2.
"""

from __future__ import annotations

import signal
from pathlib import Path

_LONGEST_LINE = 500


class ThriftsegError(Exception):
    """A fault in the input that the user can mend.

    Args:
        problem: What is wrong, in a few words.
        path: The file or folder concerned.
        expected: What should have been there.
        found: What was there instead.
        fix: What to do about it.
        detail: Further lines shown below the message (an expected folder tree, a list of files).

    Example:
        >>> print(ThriftsegError("no such folder", path="data/camvid", fix="pass --root DIR"))
        data/camvid: no such folder; fix: pass --root DIR
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
        detail: str | None = None,
    ) -> None:
        if problem.startswith("Caught "):
            problem, detail = self._without_traceback(problem, detail)
        self.problem, self.path, self.expected, self.found = problem, path, expected, found
        self.fix, self.detail = fix, detail
        super().__init__(str(self))

    @classmethod
    def _without_traceback(cls, text: str, detail: str | None) -> tuple[str, str | None]:
        """Recover message and detail from the text that PyTorch makes of an error in a data loading worker.

        It raises the same class again in the main process with nothing but "Caught ... in DataLoader worker process"
        and the formatted traceback, whose end is the message.
        """
        _, marker, message = text.rpartition(f"\n{cls.__module__}.{cls.__qualname__}: ")
        if not marker:
            return text, detail
        problem, _, rest = message.strip().partition("\n")
        return problem, rest or detail

    @property
    def headline(self) -> str:
        """The message without its detail: always a single line, of at most 500 characters."""
        parts = [
            *([] if self.path is None else [f"{self.path}: "]),
            self.problem,
            *([] if self.expected is None else [f"; expected {self.expected}"]),
            *([] if self.found is None else [f"; found {self.found}"]),
            *([] if self.fix is None else [f"; fix: {self.fix}"]),
        ]
        while (excess := sum(map(len, parts)) - _LONGEST_LINE) > 0:
            longest = max(range(len(parts)), key=lambda place: len(parts[place]))
            parts[longest] = _shortened(parts[longest], max(len(parts[longest]) - excess, _LONGEST_LINE // 8))
        line = " ".join("".join(parts).splitlines())
        return line.encode(errors="backslashreplace").decode()  # names on disk need not be UTF-8

    def __str__(self) -> str:
        return f"{self.headline}\n{self.detail}" if self.detail else self.headline

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send exceptions by pickle, which would call __init__ with the message only.
        return (_rebuild, (type(self), self.__dict__.copy()))


def _shortened(text: str, length: int) -> str:
    """Both ends of a text, of `length` characters together."""
    half = (length - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def _rebuild(cls: type[ThriftsegError], state: dict[str, object]) -> ThriftsegError:
    error = cls(**{key: state[key] for key in ("problem", "path", "expected", "found", "fix", "detail")})  # type: ignore[arg-type]
    error.__dict__.update(state)
    return error


class DatasetError(ThriftsegError):
    """Files of a data set are missing, unreadable or contradict its class table.

    Example:
        >>> str(DatasetError("no frames", path="drive", expected="PNG files", found="nothing", fix="check --root"))
        'drive: no frames; expected PNG files; found nothing; fix: check --root'
    """


class LabelStoreError(ThriftsegError):
    """A label store or its manifest is damaged, of another version or of another taxonomy.

    Example:
        >>> error = LabelStoreError("wrong taxonomy", path="labels/flow", expected="cityscapes", found="camvid")
        >>> error.headline, error.found
        ('labels/flow: wrong taxonomy; expected cityscapes; found camvid', 'camvid')
    """


class MixtureError(ThriftsegError):
    """A mixture asks for labels, offsets or clips that do not exist.

    Example:
        >>> from thriftseg.datamodules import MixturePart
        >>> try:
        ...     MixturePart("flow", share=1.5)
        ... except MixtureError as error:
        ...     print(error)
        share of part 'flow'; expected 0..1; found 1.5
    """


class ConfigError(ThriftsegError):
    """A setting is out of range or contradicts another one.

    Example:
        >>> from thriftseg.costs import CostModel
        >>> try:
        ...     CostModel.named("guess")
        ... except ConfigError as error:
        ...     print(error)
        no such cost model; expected published or polygon; found 'guess'
    """


class CheckpointError(ThriftsegError):
    """A weight file is missing, damaged or belongs to another network.

    Example:
        >>> from thriftseg.zoo import load
        >>> try:
        ...     load("nowhere.safetensors")
        ... except CheckpointError as error:
        ...     print(error.problem, error.path)
        no such weight file nowhere.safetensors
    """


class WaitingForLabels(ThriftsegError):
    """A person has been asked to label something and has not done so yet: no fault, but the run cannot go on.

    Example:
        >>> def label(frame: int) -> None:
        ...     raise WaitingForLabels("a frame is to be labelled", path="todo.csv", fix="label it, and go on")
        >>> try:
        ...     label(3)
        ... except WaitingForLabels as waiting:
        ...     print(waiting.fix)
        label it, and go on
    """


class Stopped(SystemExit):
    """A signal has ended the program: no fault, and nothing that was finished is lost.

    Args:
        signum: The signal.
        fix: How to go on.

    Attributes:
        code: Exit code, 128 and the number of the signal.

    Example:
        >>> stopped = Stopped(signal.SIGTERM)
        >>> stopped.code, str(stopped)
        (143, 'stopped by SIGTERM; run the same command again to go on')
    """

    def __init__(self, signum: int, fix: str = "run the same command again to go on") -> None:
        super().__init__(128 + signum)
        self.signum, self.fix = signum, fix

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.signum).name}; {self.fix}"
