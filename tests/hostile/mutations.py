"""Damage to files: random bytes, and values of another kind inside of what the format means."""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

PNG_START = b"\x89PNG\r\n\x1a\n"
TOKENS = [
    b"", b"\0", b"\xff\xfe", b"NaN", b"-Infinity", b"null", b"[" * 5000, b"{\"a\":" * 5000, b"9" * 400, b"-1", b"1e999",
    b"\xed\xa0\x80", b"\\ud800", b"&a [*a]", b"<!DOCTYPE a>", b"]" * 3, b"\n\n", b",,,", b"'\"", b"x" * 300_000,
]  # fmt: skip
TEXTS = [
    "",
    "x",
    "\0",
    "a\0b",
    "/" * 100_000,
    "../" * 50,
    "9" * 300,
    "nan",
    "1e400",
    "\u202e",
    "x" * 5000,
    "-1",
    "null",
]
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 255, 256, 65536, 2**31, 2**63, 10**30, 0.5, -0.5, 1e18, 1e308, float("nan"),
    float("inf"), [], {}, [[]], [None], {"": None}, *TEXTS,
]  # fmt: skip


def mutated(content: bytes, rng: Random) -> bytes:
    """Damaged content of a file; the same for the same state of `rng`."""
    structured = next((change for change in _structures(content) if rng.random() < 0.7), None)
    if structured is not None:
        return structured(rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = rng.choice(_BYTES)(content, rng)
    return content


def _structures(content: bytes) -> Iterator[Callable[[Random], bytes]]:
    """Ways to damage the content as what it is."""
    if content.startswith(PNG_START):
        yield lambda rng: _png(content, rng)
    elif content.startswith(b"PK\x03\x04"):
        yield lambda rng: _checkpoint(content, rng) if b"data.pkl" in content else _archive(content, rng)
    elif content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
        yield lambda rng: _safetensors(content, rng)
    elif content.lstrip()[:1] == b"<":
        yield lambda rng: _xml(content, rng)
    elif content[:1] in b"[{" and content:
        yield lambda rng: _json(content, rng)
    elif re.match(rb"[\w-]+:( |\n)", content):
        yield lambda rng: _yaml(content, rng)
    elif b"," in content and content.isascii():
        yield lambda rng: _table(content, rng)


def _flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _place(content: bytes, rng: Random) -> int:
    return rng.randint(0, len(content))


def _truncate(content: bytes, rng: Random) -> bytes:
    return content[: _place(content, rng)]


def _insert(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.choice((rng.choice(TOKENS), rng.randbytes(rng.choice((1, 4, 64))))) + content[at:]


def _repeat(content: bytes, rng: Random) -> bytes:
    start, end = sorted((_place(content, rng), _place(content, rng)))
    return content[:end] + content[start:end] * rng.choice((1, 3)) + content[end:]


def _delete(content: bytes, rng: Random) -> bytes:
    start = _place(content, rng)
    return content[:start] + content[start + rng.choice((1, 2, 16)) :]


def _number(content: bytes, rng: Random) -> bytes:
    found = list(re.finditer(rb"\d+", content))
    if not found:
        return content
    match = rng.choice(found)
    digits = rng.choice((b"-1", b"0", b"99999999999", b"9" * 30, b"9" * 5000, b"1e308", b"1.5", b"0x1F", b"NaN"))
    return content[: match.start()] + digits + content[match.end() :]


_BYTES = [_flip, _flip, _truncate, _insert, _insert, _repeat, _delete, _number]


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Containers and keys of everything in a tree."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield value, key
        yield from _nodes(item)


def _value(rng: Random) -> Any:
    return copy.deepcopy(rng.choice(VALUES))


def change_tree(tree: Any, rng: Random) -> Any:
    """A tree of plain values in which a random node is another one; changes the tree in place."""
    nodes = list(_nodes(tree))
    if not nodes or rng.random() < 0.03:
        return _value(rng)
    for _ in range(rng.choice((1, 1, 1, 2))):
        owner, key = rng.choice(nodes)
        kind = rng.randrange(8)
        if kind == 0 and isinstance(owner, dict):
            owner.pop(key, None)
        elif kind == 1:
            _set(owner, rng.choice(TEXTS) if isinstance(owner, dict) else 0, _value(rng))
        elif kind == 2 and isinstance(owner, list):
            owner *= rng.choice((0, 2, 20))
        elif kind == 3:
            deep: Any = 1
            for _ in range(rng.choice((50, 150, 900))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            _set(owner, key, deep)
        elif kind == 4:
            _set(owner, key, str(owner.get(key) if isinstance(owner, dict) else owner[:1]))
        else:
            _set(owner, key, _value(rng))
    return tree


def _set(owner: Any, key: Any, value: Any) -> None:
    if isinstance(owner, dict) or key < len(owner):
        owner[key] = value


def _json(content: bytes, rng: Random) -> bytes:
    lines = content.decode().splitlines()
    try:
        trees = [json.loads(content)]
        of_lines = False
    except ValueError:
        trees, of_lines = [json.loads(line) for line in lines], True
    place = rng.randrange(len(trees))
    trees[place] = change_tree(trees[place], rng)
    texts = [json.dumps(tree) for tree in trees]
    if rng.random() < 0.05:
        texts[place] = texts[place].replace('"x"', '"\\ud800"').replace("0", "\\u0030")
    return "".join(f"{text}\n" for text in texts).encode() if of_lines else texts[0].encode()


def _yaml(content: bytes, rng: Random) -> bytes:
    import yaml

    tree = change_tree(yaml.safe_load(content), rng)
    if rng.random() < 0.5:
        return json.dumps(tree).encode()
    try:
        return str(yaml.safe_dump(tree, allow_unicode=True)).encode(errors="surrogatepass")
    except RecursionError:
        return b"- " * 2000


def _table(content: bytes, rng: Random) -> bytes:
    lines = content.decode().split("\n")
    place = rng.randrange(len(lines))
    cells = lines[place].split(",")
    cells[rng.randrange(len(cells))] = rng.choice((*TEXTS, '"', '"a\nb"', "0x10", " 7 ", "1_0", "٣", "x" * 200_000))
    lines[place] = ",".join(cells)
    return "\n".join(lines).encode()


def _xml(content: bytes, rng: Random) -> bytes:
    found = list(re.finditer(rb'="[^"]*"|>[^<>]+<', content))
    match = rng.choice(found)
    value = rng.choice(
        (*TEXTS, "1e9", "2147483648", "-5", "1,1;", "1,1;2,2;3", "nan,inf;1,1;2,2", "0, 99999999999", "&lt;")
    )
    text = value.replace("\0", "").encode()
    start, end = (b'="', b'"') if match[0].startswith(b"=") else (b">", b"<")
    return content[: match.start()] + start + text + end + content[match.end() :]


def _png(content: bytes, rng: Random) -> bytes:
    """Change a chunk and its check sum with it."""
    chunks, place = [], len(PNG_START)
    while place < len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    index = rng.randrange(len(chunks))
    kind, body = chunks[index]
    if kind == b"IHDR" and rng.random() < 0.5:
        sides = (rng.choice((0, 1, 40, 30000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
        body = b"".join(side.to_bytes(4, "big") for side in sides) + body[8:]
    else:
        body = rng.choice(_BYTES)(body, rng)
    chunks[index] = kind, body
    if rng.random() < 0.1:
        rng.shuffle(chunks)
    parts = (
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    return PNG_START + b"".join(parts)


def _archive(content: bytes, rng: Random) -> bytes:
    """Change a file in an archive and its check sum with it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(files))
    files[name] = rng.choice(_BYTES)(files[name], rng)
    if rng.random() < 0.1:
        files.pop(name)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return stream.getvalue()


def _checkpoint(content: bytes, rng: Random) -> bytes:
    """Change a plain value in a checkpoint, or its pickle."""
    import torch

    if rng.random() < 0.3:
        return _archive(content, rng)
    tree = torch.load(io.BytesIO(content), weights_only=True)
    inner = [value for value in tree.values() if isinstance(value, dict)]
    plain = rng.choice(inner) if inner and rng.random() < 0.8 else tree
    changed = change_tree(plain, rng)
    stream = io.BytesIO()
    try:
        torch.save(changed if plain is tree else tree, stream)
    except (RecursionError, UnicodeEncodeError):
        return _archive(content, rng)
    return stream.getvalue()


def _safetensors(content: bytes, rng: Random) -> bytes:
    """Change the header."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(change_tree(json.loads(content[8 : 8 + size]), rng)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
