"""Dispatcher of the `thriftseg` command: imports only the module of the command that was asked for."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from thriftseg import __version__
from thriftseg.cli.command import listing, run_command, run_one_of
from thriftseg.errors import ConfigError, Stopped, ThriftsegError, WaitingForLabels

EXIT_USER_ERROR = 2
EXIT_WAITING = 3


_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR, errno.EISDIR}
"""Refusals of the file system for reasons that only the user can change."""

_MISNAMED = {errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
"""Refusals of a path that the user has named."""

_SCAFFOLD = re.compile(
    r"""[\s-]*(Parser\ key\ "[^"]+":$|Does\ not\ validate|Subtypes:|Errors:|Given\ value
    |Problem\ with\ given\ class_path|Expected\ a\ <class\ 'NoneType'>)""",
    re.VERBOSE,
)
"""Lines of the argument parser's reports that only lead to the reason."""


@dataclass(frozen=True)
class Command:
    """One entry of `thriftseg --help`.

    A module named here offers `run`, a function whose parameters are the options, or `ACTIONS`, such functions by the
    name of a sub-command; see `thriftseg.cli.command`. Commands of the trainer offer `main(argv) -> int` instead,
    and `report` still declares its options by hand.

    Attributes:
        module: Module under `thriftseg.cli`.
        summary: One line for the help page.
    """

    module: str
    summary: str


COMMANDS = {
    "quickstart": Command("quickstart", "synthesise a data set, train from three label sources, show quality and cost"),
    "fit": Command("train", "train a network from a config"),
    "validate": Command("train", "score a checkpoint on the validation split"),
    "test": Command("train", "score a checkpoint on the test split"),
    "sweep": Command("sweep", "train the rows of a published table with some seeds"),
    "predict": Command("predict", "segment a video file or a folder of frames"),
    "evaluate": Command("evaluate", "score a folder of predictions against a folder of true labels"),
    "report": Command("report", "set the scores of runs beside the numbers of a published table"),
    "plan": Command("plan", "tell from a pilot which labels to buy for the next hours"),
    "annotate": Command("annotate", "label videos with a small budget, by HVSA or EVA-VOS; rank what to label next"),
    "label": Command("label", "make labels from cheaper ones, inspect them, exchange them with annotation tools"),
    "zoo": Command("zoo", "import, list, publish and export networks"),
    "data": Command("data", "check, synthesize or import data; print a mixture and its cost"),
}

_asked_to_stop: list[int] = []
"""Signals since the command began."""

_PATIENCE = 5.0
"""Seconds after which a stop is raised again, as callbacks of libraries may swallow it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a `thriftseg` command line.

    Args:
        argv: Arguments after the program name; `sys.argv` by default.

    Returns:
        Exit code: 0, 2 for a fault the user can mend, 3 while a person has to label something first, 130 when
            interrupted, 143 when terminated.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _asked_to_stop.clear()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _stopped(Stopped(signal.SIGINT))
    except SystemExit as stop:
        return _exit_code(stop)
    except Exception as error:
        if _asked_to_stop:  # libraries turn what is raised in their callbacks into errors of their own
            return _stopped(Stopped(_asked_to_stop[-1]))
        message = user_message(error)
        if message is None:
            raise
        waiting = isinstance(error, WaitingForLabels)
        print(f"thriftseg: {'waiting' if waiting else 'error'}: {_printable(message)}", file=sys.stderr)
        return EXIT_WAITING if waiting else EXIT_USER_ERROR
    finally:
        if _asked_to_stop:
            signal.setitimer(signal.ITIMER_REAL, 0)


def entry_point() -> None:
    """Console script: run `sys.argv` and exit; SIGTERM ends it as an interrupt does.

    Example:
        >>> from importlib.metadata import entry_points
        >>> [script] = entry_points(group="console_scripts", name="thriftseg")
        >>> script.load() is entry_point
        True
    """
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())


def user_message(error: BaseException) -> str | None:
    """Message for the user about an exception, or `None` when it is a defect of the program.

    Looks through the exceptions that caused this one, so a fault is found behind the wrappers of the
    argument parser and the trainer.
    """
    for link in _chain(error):
        if isinstance(link, ThriftsegError):
            return str(link)
    for link in _chain(error):
        if isinstance(link, UnicodeEncodeError) and link.reason == "surrogates not allowed":
            return str(ThriftsegError("a name that is not UTF-8", path=_word_at(link), fix="rename the file or folder"))
    for link in _chain(error):
        fault = _fault(link)
        if fault is not None:
            return str(fault)
    return None


def _fault(error: BaseException) -> ThriftsegError | None:
    """An error of another library, where it is about something that the user can mend."""
    if isinstance(error, ValueError) and str(error).startswith("embedded null"):
        return ThriftsegError("a path with a NUL character", fix="check the names in the command and its config")
    if isinstance(error, argparse.ArgumentError):
        return ThriftsegError(_innermost(str(error)))
    if type(error).__name__ == "MisconfigurationException":
        return ThriftsegError(_one_line(str(error)))
    if isinstance(error, OSError) and (error.errno in _DENIED or (error.errno in _MISNAMED and error.filename)):
        told = (error.strerror or type(error).__name__).lower()
        fix = "check permissions and free space" if error.errno in _DENIED else "check the path"
        return ThriftsegError(told, path=error.filename, fix=fix)
    return None


def _word_at(error: UnicodeEncodeError) -> str:
    """The word that cannot be encoded."""
    words = re.finditer(r"""[^\s"'<>]+""", error.object)
    return next(word[0] for word in words if word.end() > error.start)


def _dispatch(arguments: list[str]) -> int:
    for word in arguments:
        if "\0" in word:
            raise ConfigError("a NUL character in an argument", found=word)
    parser = listing(
        "thriftseg",
        "Train video segmentation networks from cheap labels and know what every label cost.",
        {name: command.summary for name, command in COMMANDS.items()},
    )
    parser.add_argument("--version", action="version", version=f"thriftseg {__version__}")
    if not arguments:
        parser.print_help()
        return EXIT_USER_ERROR
    if arguments[0] not in COMMANDS:
        parser.parse_args(arguments)
        return 0
    name, rest = arguments[0], arguments[1:]
    module = importlib.import_module(f"thriftseg.cli.{COMMANDS[name].module}")
    if hasattr(module, "main"):
        trainer_command: Callable[[list[str]], int] = module.main
        return trainer_command([name, *rest])
    from thriftseg.cli.options.shipped_config import row_as_config

    with row_as_config(rest) as given:
        if hasattr(module, "ACTIONS"):
            return run_one_of(name, COMMANDS[name].summary, module.ACTIONS, given)
        return run_command(name, module.run, given, getattr(module, "DEFAULTS", None))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _innermost(message: str) -> str:
    """The setting and the reason at the bottom of the parser's nested report."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    reasons = [line for line in message.splitlines() if line.strip() and not _SCAFFOLD.match(line)]
    if not keys or not reasons:
        return _one_line(message)
    deepest = max(reasons, key=lambda line: len(line) - len(line.lstrip()))
    reason = re.sub(r'^Parser key "[^"]+": ', "", deepest.strip(" -"))
    return f"{'.'.join(keys)}: {_one_line(reason)}"


def _printable(text: str) -> str:
    """Text without what a terminal would act on, or could not show; lines stay lines."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _stop(signum: int, frame: FrameType | None) -> None:
    _asked_to_stop.append(signum)
    signal.signal(signal.SIGALRM, lambda *_: _stop(signum, None))
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    raise Stopped(signum)


def _stopped(stop: Stopped) -> int:
    print(f"thriftseg: {stop}", file=sys.stderr)
    return 128 + stop.signum


def _exit_code(stop: SystemExit) -> int:
    """Exit code of a SystemExit; the trainer turns an interrupt into one."""
    if isinstance(stop, Stopped):
        return _stopped(stop)
    if any(isinstance(link, KeyboardInterrupt) for link in _chain(stop)):
        return _stopped(Stopped(signal.SIGINT))
    return stop.code if isinstance(stop.code, int) else EXIT_USER_ERROR if stop.code else 0
