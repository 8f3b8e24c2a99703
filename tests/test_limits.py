"""Limits on what a file may ask for, and the length of a line of error."""

import pytest

from thriftseg.errors import ConfigError, DatasetError, ThriftsegError
from thriftseg.limits import IMAGE_PIXELS


class TestLimit:
    def test_the_limit_itself_is_allowed(self) -> None:
        IMAGE_PIXELS.check(IMAGE_PIXELS.default)
        with pytest.raises(
            DatasetError, match=r"huge\.png: too many pixels; expected at most 268435456; found 268435457"
        ):
            IMAGE_PIXELS.check(IMAGE_PIXELS.default + 1, "huge.png")

    def test_a_variable_raises_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", "300000000")
        IMAGE_PIXELS.check(300_000_000)
        with pytest.raises(ConfigError, match="at most 300000000"):
            IMAGE_PIXELS.check(300_000_001, fault=ConfigError)

    def test_the_variable_is_a_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", "many")
        with pytest.raises(ConfigError, match="THRIFTSEG_LIMIT_IMAGE_PIXELS is no limit; expected a whole number"):
            IMAGE_PIXELS.check(1)

    def test_no_number_is_not_below_it(self) -> None:
        with pytest.raises(DatasetError, match="found nan"):
            IMAGE_PIXELS.check(float("nan"))


class TestLine:
    def test_a_long_part_gives_way_to_the_others(self) -> None:
        error = ThriftsegError("no such class", path="a/b.json", expected="sky", found="x" * 10**6, fix="name a class")
        assert 498 <= len(error.headline) <= 500
        assert error.headline.startswith("a/b.json: no such class; expected sky; found xxx")
        assert error.headline.endswith("xxx; fix: name a class")

    def test_all_parts_long(self) -> None:
        error = ThriftsegError("a" * 900, path="b" * 900, expected="c\n" * 900, found="d" * 900, fix="e" * 900)
        assert len(error.headline) <= 500
        assert "\n" not in error.headline
        assert all(letter * 20 in error.headline for letter in "abde")
