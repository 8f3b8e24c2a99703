"""YAML, of the safe kind."""

from __future__ import annotations

import math
import re
from pathlib import Path

import yaml

from thriftseg.errors import DatasetError
from thriftseg.limits import DEPTH, ENTRIES
from thriftseg.parsing.files import read_text
from thriftseg.parsing.schemas import Content, Fault, Origin, check


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Numbers as YAML 1.2 has them: 1e-4 is one, which YAML 1.1 calls a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def read_yaml(
    path: str | Path,
    schema: type[Content],
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
    nan: bool = False,
) -> Content:
    """Read a YAML file of plain values.

    Args:
        path: A regular file.
        schema: What it holds.
        fault: Kind of error.
        fix: What to do about a malformed file.
        lax: As in `read_json`.
        nan: As in `check`.

    Raises:
        ThriftsegError: It cannot be read (see `read_text`), is no YAML, is nested too deeply, repeats too much by
            aliases, or does not fit.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "classes.yaml")
        ...     _ = path.write_text("classes: [road, car]")
        ...     read_yaml(path, dict[str, list[str]])
        {'classes': ['road', 'car']}
    """
    return decode_yaml(read_text(path, fault=fault), schema, path, fault=fault, fix=fix, lax=lax, nan=nan)


def decode_yaml(
    text: str,
    schema: type[Content],
    path: str | Path,
    *,
    fault: Fault = DatasetError,
    fix: str | None = None,
    lax: bool = False,
    nan: bool = False,
) -> Content:
    """Read YAML that is no file; see `read_yaml`.

    Args:
        text: The YAML.
        schema: What it holds.
        path: What it is called in messages.
        fault: Kind of error.
        fix: What to do about a malformed text.
        lax: As in `read_json`.
        nan: As in `check`.

    Raises:
        ThriftsegError: It is no YAML, is nested too deeply, repeats too much by aliases, or does not fit.

    Example:
        >>> decode_yaml("{lr: 1e-2, steps: 300}", dict[str, float], "--trainer")
        {'lr': 0.01, 'steps': 300.0}
    """
    origin = Origin(path, fault, fix)
    try:
        _check_events(text, origin)
        value = yaml.load(text, _Loader)  # noqa: S506 # nosec B506 - a safe one
    except yaml.YAMLError as error:
        raise origin.error("is not YAML", found=" ".join(str(error).split())) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # as of dates without months
        raise origin.error("is not YAML", found=f"{type(error).__name__}: {error}") from error
    return check(value, schema, path, fault=fault, fix=fix, lax=lax, nan=nan)


def _check_events(text: str, origin: Origin) -> None:
    """Refuse YAML that is nested too deeply, or becomes too much where aliases repeat what they stand for."""
    anchors: dict[str, tuple[float, float]] = {}  # entries and depth; infinite inside of what is anchored
    parents: list[tuple[str | None, float, float]] = [(None, 0, 0)]
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            parents.append((event.anchor, 1, 0))
            DEPTH.check(len(parents) - 1, origin.path, fault=origin.fault)
            if event.anchor is not None:
                anchors[event.anchor] = math.inf, math.inf
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, entries, depth = parents.pop()
            depth += 1
            if anchor is not None:
                anchors[anchor] = entries, depth
        elif isinstance(event, yaml.AliasEvent):
            entries, depth = anchors.get(str(event.anchor), (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            entries, depth = 1, 0
        else:
            continue
        anchor, before, deepest = parents[-1]
        parents[-1] = anchor, before + entries, max(deepest, depth)
        ENTRIES.check(before + entries, origin.path, fault=origin.fault)
        DEPTH.check(len(parents) - 1 + depth, origin.path, fault=origin.fault)
