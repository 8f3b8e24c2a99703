"""JSON and XML files, and one line of error that names the file and the place in it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from thriftseg.errors import DatasetError, ThriftsegError
from thriftseg.limits import FILE_BYTES


@contextmanager
def located(path: Path, place: str) -> Iterator[None]:
    """Turn what goes wrong on a malformed entry into one line that names the file and the place."""
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{place} has no {error}", path=path) from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DatasetError(f"{place} is malformed", path=path, found=str(error)) from error


def read_bytes(path: str | Path, *, fault: type[ThriftsegError] = DatasetError) -> bytes:
    """Content of a file.

    Args:
        path: A regular file; pipes and devices are not opened.
        fault: Kind of error.

    Raises:
        ThriftsegError: It is missing, unreadable, too large or no regular file.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - `Path` would normalise the path that the error names
        if not stat.S_ISREG(status.st_mode):
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise fault("cannot be read", path=path, expected="a file", found=found)
        FILE_BYTES.check(status.st_size, path, fault=fault)
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise fault("no such file", path=path) from None
    except (OSError, ValueError) as error:  # a ValueError is about NUL in the path
        raise fault("cannot be read", path=path, found=getattr(error, "strerror", None) or error) from error


def load_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        DatasetError: The file is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError("cannot read the annotations", path=path, found=error.strerror) from error
    except ValueError as error:
        raise DatasetError("not a JSON file", path=path, found=str(error)) from error


def load_xml(path: Path) -> ElementTree.Element:
    """Root element of an XML file.

    Raises:
        DatasetError: The file is missing or no XML.
    """
    try:
        return ElementTree.fromstring(path.read_bytes())  # noqa: S314 - expat limits the growth of entities
    except OSError as error:
        raise DatasetError("cannot read the annotations", path=path, found=error.strerror) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError("not an XML file", path=path, found=str(error)) from error


def dump_xml(root: ElementTree.Element) -> bytes:
    """Content of an XML file."""
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
