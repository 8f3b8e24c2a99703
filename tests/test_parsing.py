"""The reader of all text formats: what it takes, and what it says about what it does not take."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from thriftseg.errors import ConfigError, DatasetError, LabelStoreError, ThriftsegError
from thriftseg.parsing import (
    Count,
    Finite,
    Integer,
    Record,
    check,
    decode_arrays,
    read_bytes,
    read_csv,
    read_json,
    read_json_lines,
    read_lines,
    read_text,
    read_xml,
    read_yaml,
)

Write = Callable[..., Path]


class Inner(Record, frozen=True):
    number: Count
    word: Literal["a", "b"] = "a"


class Row(msgspec.Struct):
    video: str
    frame: Count
    share: Finite = 0.0


class Line(msgspec.Struct, array_like=True):
    frame: Integer
    side: float
    word: str = ""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "a") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


class TestFiles:
    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path, message in [
            (tmp_path / "pipe", "pipe: cannot be read; expected a file; found a pipe or device"),
            ("/dev/zero", "cannot be read; expected a file; found a pipe or device"),
            (tmp_path, "cannot be read; expected a file; found a folder"),
            (tmp_path / "none", "none: no such file"),
            (f"{tmp_path}/a\0b", "cannot be read; found embedded null byte"),
        ]:
            with pytest.raises(ConfigError, match=message):
                read_bytes(path, fault=ConfigError)

    def test_of_too_many_bytes(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRIFTSEG_LIMIT_FILE_BYTES", "3")
        assert read_bytes(write("123")) == b"123"
        with pytest.raises(DatasetError, match="too many bytes; expected at most 3; found 4"):
            read_bytes(write("1234"))

    def test_text_is_utf8_with_or_without_a_mark(self, write: Write) -> None:
        assert read_text(write("\ufeffgrün")) == read_text(write("grün")) == "grün"
        with pytest.raises(DatasetError, match="is not UTF-8; found byte 0xfc at position 2"):
            read_text(write("grün".encode("latin-1")))

    def test_lines(self, write: Write) -> None:
        assert read_lines(write(" a \r\n\n\tb")) == ["a", "b"]
        with pytest.raises(DatasetError, match="is no text; found a character NUL in line 2"):
            read_lines(write("a\nb\0"))


class TestJson:
    @pytest.mark.parametrize(
        ("text", "schema", "message"),
        [
            (
                '{"a": [{"number": 1}, {"number": "x"}]}',
                dict[str, list[Inner]],
                "$.a[1].number; expected int; found 'x'",
            ),
            ('{"b c": {"number": -1}}', dict[str, Inner], "$['b c'].number; expected int >= 0; found -1"),
            ('[{"word": "b"}]', list[Inner], "$[0]; expected an entry number; found a mapping of word"),
            ('[{"number": 1, "wort": "b"}]', list[Inner], "$[0]; found an unknown entry wort"),
            ('[{"number": 1, "word": "c"}]', list[Inner], "$[0].word; expected one of 'a', 'b'; found 'c'"),
            ('{"1": 1, "x": 1}', dict[int, int], "$; expected int; found 'x'"),
            ("[1, [2]]", list[int], "$[1]; expected int; found a list of 1"),
            ("[true]", list[int], "$[0]; expected int; found True"),
            ("[3.0]", list[int], "$[0]; expected int; found 3.0"),
            ("[9223372036854775808]", list[Any], "$[0]; expected an integer of 64 bits; found one of 64"),
        ],
    )
    def test_places(self, write: Write, text: str, schema: type, message: str) -> None:
        with pytest.raises(LabelStoreError) as caught:
            read_json(write(text), schema, fault=LabelStoreError, fix="mend it")
        assert caught.value.headline.endswith(f"/a: malformed at {message}; fix: mend it")

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("{", "Expecting property name"),
            ("", "Expecting value"),
            ("[NaN]", "NaN, which is no number of JSON"),
            ("[-Infinity]", "-Infinity, which is no number of JSON"),
            ("[1e999]", "a number that is too large"),
            ('["\\ud800"]', "half of a surrogate pair"),
            ("1" * 5000, "Exceeds the limit"),
            (b'["\xff"]', "byte 0xff at position 2, which is not UTF-8"),
        ],
    )
    def test_no_json(self, write: Write, text: str | bytes, found: str) -> None:
        with pytest.raises(DatasetError, match=f"is not JSON; found .*{found}"):
            read_json(write(text), list[Any])

    @pytest.mark.parametrize("start", ["[", '{"a":', '["]]]]", ', '["\\"[", ', '["\\\\", '])
    def test_depth(self, write: Write, start: str) -> None:
        end = "]" if start[0] == "[" else "}"
        inside = start.startswith("[") and len(start) > 1
        assert read_json(write(start * 100 + "1" + end * 100), object)
        with pytest.raises(DatasetError, match="too many levels of nesting; expected at most 100; found 101"):
            read_json(write(start * 101 + "1" + end * 101), object)
        with pytest.raises(DatasetError, match="too many levels of nesting"):
            read_json(write(start * 10**5), object)
        assert inside or read_json(write('{"text": "' + "[" * 1000 + '"}'), dict[str, str])["text"] == "[" * 1000

    def test_numbers_are_those_of_python(self, write: Write) -> None:
        drawn = random.Random(0)
        numbers = [drawn.uniform(-1, 1) * 10.0 ** drawn.randint(-300, 300) for _ in range(2000)]
        numbers += [float(f"{drawn.randint(0, 10**9)}.{drawn.randint(0, 10**24)}") for _ in range(2000)]
        assert read_json(write(repr(numbers)), list[float]) == numbers

    def test_lax_numbers(self, write: Write) -> None:
        assert read_json(write('["3", 3.0, 3]'), list[Integer], lax=True) == [3, 3, 3]
        for text in ('"99999999999999999999"', "3.5", '"three"'):
            with pytest.raises(DatasetError, match=r"malformed at \$\[0\]"):
                read_json(write(f"[{text}]"), list[Integer], lax=True)
        for text in ("nan", "inf", "-inf"):
            with pytest.raises(DatasetError, match=r"malformed at \$\[0\]; expected float [<>]="):
                read_json(write(f'["{text}"]'), list[Finite], lax=True)


class TestJsonLines:
    def test_of_two_kinds(self, write: Write) -> None:
        path = write('{"number": 1}\n{"video": "a", "frame": 2}\n')
        rows: list[Any] = read_json_lines(path, lambda row: Row if "video" in row else Inner)
        assert rows == [Inner(1), Row("a", 2)]

    def test_torn_end(self, write: Write) -> None:
        path = write('{"number": 1}\n{"number": 2')
        assert read_json_lines(path, Inner, torn=True) == [Inner(1)]
        with pytest.raises(DatasetError, match="line 2 is not JSON"):
            read_json_lines(path, Inner)

    def test_lines_are_named(self, write: Write) -> None:
        with pytest.raises(DatasetError, match=r"line 2 is malformed at \$\.number; expected int; found None"):
            read_json_lines(write('{"number": 1}\n{"number": null}\n'), Inner)
        with pytest.raises(DatasetError, match=r"line 1 is malformed at \$; expected object; found a list of 0"):
            read_json_lines(write("[]\n"), lambda row: Inner)
        with pytest.raises(DatasetError, match="line 2 is not JSON"):
            read_json_lines(write('{"number": 1}\n\n{"number": 1}\n'), Inner)


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [1", "is not YAML; found while parsing"),
            ("a: 2020-13-45", "is not YAML; found ValueError: month must be in 1..12"),
            ("a: !!timestamp x", "is not YAML; found AttributeError"),
            ("a: !!python/object:os.system x", "is not YAML; found could not determine a constructor"),
            ("a: .nan", r"malformed at \$\.a; expected a finite number; found nan"),
            ("a: 123456789012345678901", r"malformed at \$\.a; expected an integer of 64 bits; found one of 67"),
            (f"a: 0x{'f' * 10000}", "expected an integer of 64 bits; found one of 40000"),
            ("a: &a [*a]", "too many entries"),
            ("[" * 500, "too many levels of nesting; expected at most 100"),
            ("[" * 10**5, "levels of nesting; expected at most 100|maximum nesting depth"),  # PyYAML 6.0.4 has its own
            ("- " * 10**5, "too many levels of nesting; expected at most 100"),
            ("1: a", r"malformed at \$; expected str; found 1"),
        ],
    )
    def test_refused(self, write: Write, text: str, message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            read_yaml(write(text), dict[str, object])

    @pytest.mark.parametrize("item", ["[{0}]", "{{x: {0}}}", "{{<<: [{0}]}}"])
    def test_aliases_are_counted(self, write: Write, item: str) -> None:
        lines = ["a0: &a0 {x: 1}" if "<<" in item else "a0: &a0 [x]"]
        for level in range(12):
            repeated = ", ".join([f"*a{level}"] * 9)
            lines.append(
                f"a{level + 1}: &a{level + 1} " + item.format(repeated if "x" not in item else f"[{repeated}]")
            )
        assert read_yaml(write("\n".join(lines[:4])), dict[str, object])
        with pytest.raises(DatasetError, match="too many entries; expected at most 10000000"):
            read_yaml(write("\n".join(lines)), dict[str, object])

    def test_numbers_as_yaml_1_2_has_them(self, write: Write) -> None:
        text = "{a: 1e-4, b: '1e-4', c: 1.5E+3, d: 1e, e: 1e2x, f: -.5e1, g: 2e3}"
        expected = {"a": 0.0001, "b": "1e-4", "c": 1500.0, "d": "1e", "e": "1e2x", "f": -5.0, "g": 2000.0}
        assert read_yaml(write(text), dict[str, object]) == expected

    def test_infinite_numbers_where_they_are_welcome(self, write: Write) -> None:
        assert read_yaml(write("a: .inf"), dict[str, float], nan=True) == {"a": float("inf")}


class TestCsv:
    def test_by_column(self, write: Write) -> None:
        rows = {2: Row("007", 7), 4: Row("b", 8, 0.5)}
        assert read_csv(write("video,frame,share\n007,007\n\nb,+8, .5 ,x\n"), Row, ("video", "frame")) == rows
        assert read_csv(write("\ufeffshare;frame;video\r\n;7;007\r\n\r\n.5;8;b\r\n"), Row, ("frame",)) == rows

    def test_without_a_head(self, write: Write) -> None:
        assert read_csv(write("1,2\n3.0, nan ,x,y\n"), Line, None).keys() == {1, 2}
        assert read_csv(write("1,2\n"), Line, None) == {1: Line(1, 2.0)}
        with pytest.raises(DatasetError, match=r"line 1 is malformed at \$\[1\]; expected float; found ''"):
            read_csv(write("1,,2\n"), Line, None)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "lacks a column; expected video, frame; found nothing"),
            ("video\na", "lacks a column; expected video, frame; found video"),
            ("video,frame\na,x", r"line 2 is malformed at \$\.frame; expected int; found 'x'"),
            ("video,frame\na,-1", r"line 2 is malformed at \$\.frame; expected int >= 0; found -1"),
            ("video,frame\na", r"line 2 is malformed at \$; expected an entry frame; found a mapping of video"),
            ("video,frame,share\na,1,nan", r"line 2 is malformed at \$\.share; expected float [<>]="),
            (f"video,frame\na,{'9' * 30}", r"line 2 is malformed at \$\.frame; expected int <="),
            (f'video,frame\n"{"x" * 200_000}",1', "line 2 is no CSV; found field larger than field limit"),
        ],
    )
    def test_refused(self, write: Write, text: str, message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            read_csv(write(text), Row, ("video", "frame"))


class TestXml:
    def test_elements(self, write: Write) -> None:
        root = read_xml(write('<?xml version="1.0" encoding="latin-1"?><a b="1">x<c>\xe4</c>y</a>'.encode("latin-1")))
        assert (root.tag, root.attrib, root.text, root[0].tag, root[0].text, root[0].tail) == (
            "a",
            {"b": "1"},
            "x",
            "c",
            "ä",
            "y",
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is not XML; found no element found"),
            ("<a><b></a>", "is not XML; found mismatched tag"),
            ("<a/><b/>", "is not XML; found junk after document element"),
            ('<?xml version="1.0" encoding="klingon"?><a/>', "is not XML; found unknown encoding"),
            ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "has a document type, which could define entities"),
            ("<a>" * 10**5, "too many levels of nesting; expected at most 100"),
        ],
    )
    def test_refused(self, write: Write, text: str, message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            read_xml(write(text))


class TestArrays:
    def test_claims_beyond_the_file(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", a=np.zeros(3), b=np.array([object()]))
        content = (tmp_path / "a.npz").read_bytes()
        assert decode_arrays(content, "a.npz", "a")[0].tolist() == [0, 0, 0]
        for name, message in [("c", "There is no item named"), ("b", "allow_pickle")]:
            with pytest.raises(DatasetError, match=f"a.npz: holds no such arrays; expected {name}; found .*{message}"):
                decode_arrays(content, "a.npz", name)
        np.save(tmp_path / "a.npy", np.zeros(4))
        content = (tmp_path / "a.npy").read_bytes()
        with pytest.raises(DatasetError, match="holds no such arrays"):
            decode_arrays(content.replace(b"(4,)", b"(40000000000000,)"), "a.npy")


class TestCheck:
    def test_values_of_elsewhere(self) -> None:
        found: dict[str, Inner] = check({"a": {"number": 3}}, dict[str, Inner], "a.ckpt")
        assert found == {"a": Inner(3)}
        for value, message in [
            ({"a": {"number": float("nan")}}, r"the record is malformed at \$\.a\.number; expected a finite number"),
            ({"a\ud800": 1}, r"expected text; found .* with half of a surrogate pair"),
            ({1: {}}, r"malformed at \$; expected str; found 1"),
        ]:
            with pytest.raises(ThriftsegError, match=message):
                check(value, dict[str, Inner], "a.ckpt", "the record")

    def test_circles_end(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        with pytest.raises(DatasetError, match="too many levels of nesting"):
            check(circle, list[Any], "a.ckpt")

    def test_a_value_stays_as_it_was(self) -> None:
        value = {"a": {"x": 1, "y": "z", "w": 2}}
        with pytest.raises(DatasetError, match=r"\$\.a\.y; expected int; found 'z'"):
            check(value, dict[str, dict[str, int]], "a.ckpt")
        assert value == {"a": {"x": 1, "y": "z", "w": 2}}
        assert list(value["a"]) == ["x", "y", "w"]
