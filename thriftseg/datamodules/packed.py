"""Long lists in few large arrays, which processes that are forked share for good.

A list of a million Python objects is shared at first, but each look at an object writes to its reference count, and the
page of memory that it lies in becomes the process's own.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from thriftseg.types import Clip

_CLIPS_AT_HAND = 16


class _OfClip(Protocol):
    @property
    def clip(self) -> Clip: ...


Item = TypeVar("Item", bound=_OfClip)


class Packed(Sequence[Item]):
    """A list of data classes that belong to clips; whoever asks for one gets an equal one, made anew.

    Args:
        items: The list; all of one class.

    Example:
        >>> from thriftseg.types import LabelKind, TrainingSample
        >>> clip = Clip("drive", {7: Path("7.png")})
        >>> samples = [TrainingSample(clip, 7, 7, "flow", LabelKind.PROPAGATED)]
        >>> Packed(samples)[0] == samples[0]
        True
    """

    def __init__(self, items: Sequence[Item]) -> None:
        places: dict[int, int] = {}
        clips: list[Clip] = []
        named = fields(items[0]) if items else ()  # type: ignore[arg-type]
        self._names = [field.name for field in named if field.name != "clip"]
        values_of, parts = attrgetter("clip", *self._names), []
        for item in items:
            clip, *values = values_of(item)
            if id(clip) not in places:
                places[id(clip)] = len(clips)
                clips.append(clip)
            short = [os.fsencode(value) if isinstance(value, Path) else value for value in values]
            parts.append(pickle.dumps((places[id(clip)], *short), pickle.HIGHEST_PROTOCOL))
        self._items = _Texts(parts)
        self._clips = _Texts([pickle.dumps(_packed_clip(clip), pickle.HIGHEST_PROTOCOL) for clip in clips])
        self._type = type(items[0]) if items else None
        self._clip = lru_cache(_CLIPS_AT_HAND)(self._read_clip)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """An item, or a list of some."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place, *values = pickle.loads(self._items[range(len(self))[index]])  # noqa: S301 - written above
        whole = (Path(os.fsdecode(value)) if isinstance(value, bytes) else value for value in values)
        return self._type(clip=self._clip(place), **dict(zip(self._names, whole, strict=True)))  # type: ignore[call-arg, misc]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_clip"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clip = lru_cache(_CLIPS_AT_HAND)(self._read_clip)

    def _read_clip(self, place: int) -> Clip:
        kind, values = pickle.loads(self._clips[place])  # noqa: S301 - written above
        clip: Clip = kind(**values)
        return clip


class _Texts:
    """Byte strings in two arrays."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(parts), np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: int) -> bytes:
        return self._bytes[self._ends[place] : self._ends[place + 1]].tobytes()


class _Paths(Mapping[int, Path]):
    """Files by number, in the order of the numbers."""

    def __init__(self, files: Mapping[int, Path]) -> None:
        self._numbers = np.array(sorted(files), np.int64)
        self._names = _Texts([os.fsencode(files[number]) for number in self._numbers.tolist()])

    def __getitem__(self, number: int) -> Path:
        place = self._place(number)
        if place is None:
            raise KeyError(number)
        return Path(os.fsdecode(self._names[place]))

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self._place(number) is not None

    def __iter__(self) -> Iterator[int]:
        numbers: Iterable[int] = self._numbers.tolist()
        return iter(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def _place(self, number: int) -> int | None:
        place = int(np.searchsorted(self._numbers, number))
        return place if place < len(self._numbers) and self._numbers[place] == number else None


def _packed_clip(clip: Clip) -> tuple[type[Clip], dict[str, Any]]:
    values = [(field.name, getattr(clip, field.name)) for field in fields(clip)]
    return type(clip), {name: _Paths(value) if isinstance(value, Mapping) else value for name, value in values}
