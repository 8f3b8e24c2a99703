"""Damaged files: every reader gives a result, or one line that the user can act on."""

from __future__ import annotations

import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.hostile.mutations import mutated
from tests.hostile.parsers import PARSERS, Parser, Read
from thriftseg.errors import ThriftsegError

SEED = 22
CASES, MANY_CASES = 2_000, 100_000
LONGEST_LINE = 500
LIMIT_SECONDS, LIMIT_MEGABYTES = 2, 300
"""The most that one case may take, of the processor and of memory."""
TOTAL_WEIGHT = sum(parser.weight for parser in PARSERS)


def fault(read: Read) -> str | None:
    """What is wrong with the answer of a reader: neither a result nor a short line about the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()
    except ThriftsegError as error:
        line = error.headline
        line.encode()
        return line if len(line) > LONGEST_LINE or len(line.splitlines()) != 1 else None
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


def faults(parser: Parser, folder: Path, cases: range) -> Iterator[str]:
    """What is wrong with the answers of a reader to damaged files."""
    path, read = parser.build(folder)
    content = path.read_bytes()
    for case in cases:
        path.write_bytes(mutated(content, Random(f"{SEED} {parser.name} {case}")))
        started, taken = time.process_time(), megabytes()
        found = fault(read)
        seconds, grown = time.process_time() - started, megabytes() - taken
        if found is None and (seconds > LIMIT_SECONDS or grown > LIMIT_MEGABYTES):
            found = f"took {seconds:.1f} s of the processor and {grown} MB"
        if found:
            yield f"seed {SEED}, {parser.name}, case {case}: {found}"


def megabytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def waited_too_long(*_: object) -> None:
    raise AssertionError("opened a pipe and waits")  # an OSError may be expected by the reader


def cases_of(parser: Parser, total: int) -> range:
    return range(round(total * parser.weight / TOTAL_WEIGHT))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_valid_file_is_read(parser: Parser, tmp_path: Path) -> None:
    path, read = parser.build(tmp_path)
    assert path.is_file()
    read()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_what_is_no_file(parser: Parser, tmp_path: Path) -> None:
    path, read = parser.build(tmp_path)
    signal.signal(signal.SIGALRM, waited_too_long)
    path.write_bytes(b"")
    assert fault(read) is None
    path.unlink()
    assert fault(read) is None
    for make in (os.mkfifo, Path.mkdir):
        path.unlink(missing_ok=True)
        make(path)
        signal.alarm(30)
        try:
            assert fault(read) is None, make.__name__
        finally:
            signal.alarm(0)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_damaged_files(parser: Parser, tmp_path: Path) -> None:
    found = list(faults(parser, tmp_path, cases_of(parser, CASES)))
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_many_damaged_files(parser: Parser, tmp_path: Path) -> None:
    found = list(faults(parser, tmp_path, cases_of(parser, MANY_CASES)))
    assert not found, "\n".join(found[:20])
