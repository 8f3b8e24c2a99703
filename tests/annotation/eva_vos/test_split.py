"""Lists of the videos that EVA-VOS is trained, validated and tested on."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from thriftseg.annotation import read_lists, split_videos, write_lists
from thriftseg.annotation.eva_vos.split import PARTS
from thriftseg.errors import ConfigError, DatasetError

LENGTHS = {f"{number:08x}": 16 + number % 89 for number in range(1166)}


def test_counts_of_the_paper_without_overlap() -> None:
    parts = split_videos(LENGTHS)
    assert {part: len(names) for part, names in parts.items()} == {"train": 800, "val": 150, "test": 216} == PARTS
    assert sorted(name for names in parts.values() for name in names) == sorted(LENGTHS)


def test_directory_order_does_not_matter() -> None:
    names = list(LENGTHS)
    random.Random(0).shuffle(names)
    shuffled = split_videos({name: LENGTHS[name] for name in names})
    assert shuffled == split_videos(LENGTHS)
    text = "\n".join(f"{part} {name}" for part, listed in shuffled.items() for name in listed)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "3e6e5035945f5f5b"  # the rule must never change


def test_short_and_long_videos_are_left_out() -> None:
    others = {"short": 15, "long": 105, "endless": 1000}
    assert split_videos({**LENGTHS, **others}) == split_videos(LENGTHS)
    with_short = split_videos({**LENGTHS, **others}, least=15)
    assert "short" in [name for names in with_short.values() for name in names]


@pytest.mark.parametrize("count", [7, 100, 1000])
def test_other_numbers_of_videos_keep_the_proportions(count: int) -> None:
    parts = split_videos({f"v{number}": 20 for number in range(count)})
    assert sum(map(len, parts.values())) == count
    assert all(abs(len(parts[part]) - count * size / 1166) <= 1 for part, size in PARTS.items())


def test_too_few_videos() -> None:
    with pytest.raises(ConfigError, match="found train 1, val 1, test 0"):
        split_videos({"a": 20, "b": 20})


def test_lists_on_disk(tmp_path: Path) -> None:
    parts = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    write_lists(parts, tmp_path)
    write_lists(parts, tmp_path)
    assert (tmp_path / "train.txt").read_text() == "a\nb\n"
    assert read_lists([tmp_path / "train.txt", tmp_path / "val.txt"]) == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="holds another list of videos"):
        write_lists({**parts, "val": ["d"]}, tmp_path)
    with pytest.raises(DatasetError, match="a video is listed twice; found a"):
        read_lists([tmp_path / "train.txt", tmp_path / "train.txt"])
    with pytest.raises(DatasetError, match="no such list of videos"):
        read_lists([tmp_path / "absent.txt"])
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DatasetError, match="the list of videos is empty"):
        read_lists([tmp_path / "empty.txt"])
