"""Licences of weights and labels: which of them ask for nothing but to be named, and who is told of the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PERMISSIVE = frozenset(
    {
        "0bsd",
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc0-1.0",
        "isc",
        "mit",
        "ms-pl",
        "pddl",
        "unlicense",
        "zlib",
    }
)
"""Identifiers, as the Hugging Face hub writes them, of licences that allow any use which names the authors."""

NOT_STATED = "not stated"

_UNKNOWN = ("", NOT_STATED, "unknown", "other")
_NON_COMMERCIAL = re.compile(r"non[- ]?commercial|\bby[- ]nc\b")
_SPELLED = {"apache-license-2.0": "apache-2.0", "bsd": "bsd-3-clause", "bsd-3": "bsd-3-clause", "mit-license": "mit"}

_logger = logging.getLogger(__name__)


def is_restricted(terms: str) -> bool:
    """Whether terms are known to ask for more than to name the authors.

    Args:
        terms: Identifier of a licence, or a sentence that names one.

    Example:
        >>> [is_restricted(terms) for terms in ("Apache-2.0", "not stated", "SAM License", "CC BY-NC-SA 4.0")]
        [False, False, True, True]
        >>> is_restricted("no licence stated by its authors"), is_restricted("drawn by this package; Apache-2.0")
        (False, False)
        >>> is_restricted("mit and sam-license"), is_restricted("mit and bsd-3-clause")
        (True, False)
    """
    text = terms.strip().lower()
    parts = re.split(r" and |\s*[&+]\s*", text)
    if len(parts) > 1:
        return any(map(is_restricted, parts))
    if text in _UNKNOWN or text.startswith("no licence stated"):
        return False
    words = {text.replace(" ", "-"), *re.split(r"[\s,;()]+", text)}
    return bool(_NON_COMMERCIAL.search(text)) or not PERMISSIVE & {_SPELLED.get(word, word) for word in words}


def licences_behind(notes: Mapping[str, Any]) -> list[str]:
    """Licences of the weights that had a part in the labels of a network and of its teacher, sorted.

    Args:
        notes: The card, with the `labels` of the network and what is known of its `teacher`.

    Example:
        >>> licences_behind({"labels": {"licences": ["mit"]}, "teacher": {"licences": ["SAM License"]}})
        ['SAM License', 'mit']
    """
    known = [notes.get(part) or {} for part in ("labels", "teacher")]
    return sorted({licence for part in known for licence in part.get("licences", ())})


def restrictions(notes: Mapping[str, Any]) -> list[str]:
    """What the terms of a network restrict, one phrase each.

    Args:
        notes: The card, with its `licences`, `labels` and `teacher`.

    Example:
        >>> restrictions({"licences": {"weights": "cc-by-nc-4.0"}, "labels": {"licences": ["SAM License", "mit"]}})
        ['weights under cc-by-nc-4.0', 'labels made with weights under SAM License']
    """
    return list(dict.fromkeys(phrase for phrase, terms in _terms(notes) if is_restricted(terms)))


def tell_restrictions(notes: Mapping[str, Any], path: str | Path) -> None:
    """Warn, once in a process, of whatever restricts the use of a network that was loaded.

    Args:
        notes: See `restrictions`.
        path: Its file.

    Example:
        >>> from unittest import TestCase
        >>> with TestCase().assertLogs(_logger) as logs:
        ...     tell_restrictions({"licences": {"weights": "cc-by-nc-4.0"}}, "own.safetensors")
        >>> logs.records[0].getMessage()
        'own.safetensors: its use is restricted: weights under cc-by-nc-4.0'
    """
    found = restrictions(notes)
    if found:
        _tell(f"{path}: its use is restricted: {'; '.join(found)}")


def tell_terms(what: str, terms: str | None) -> None:
    """Warn, once in a process, of terms that restrict the use of something.

    Args:
        what: What they are about, such as "the encoder mit_b0".
        terms: Its licence; `None` if it is not known.
    """
    if terms is not None and is_restricted(terms):
        _tell(f"the use of {what} is restricted: {terms}")


@cache
def _tell(line: str) -> None:
    _logger.warning("%s", line)


def _terms(notes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    stated = notes.get("licences") or {}
    weights = str(stated.get("weights", ""))
    yield f"weights under {weights}", weights
    for licence in licences_behind(notes):
        yield f"labels made with weights under {licence}", licence
    for step in stated.get("lineage", ()):
        if step["what"] == "start":
            yield f"started from {step['name']} under {step['licence']}", step["licence"]
        if step["what"] == "labels" and step["licence"] not in step["name"]:
            yield f"labels {step['name']}: {step['licence']}", step["licence"]
