"""XML without entities."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from thriftseg.errors import DatasetError
from thriftseg.limits import DEPTH
from thriftseg.parsing.files import read_bytes
from thriftseg.parsing.schemas import Origin


def read_xml(path: str | Path) -> ElementTree.Element:
    """Root element of an XML file, which may not define entities.

    Raises:
        DatasetError: It cannot be read (see `read_bytes`), is no XML, is nested too deeply or has a document type.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "boxes.xml")
        ...     _ = path.write_text('<track label="car"><box frame="3"/><box frame="4"/></track>')
        ...     track = read_xml(path)
        >>> track.get("label"), [box.get("frame") for box in track]
        ('car', ['3', '4'])
    """
    content, origin = read_bytes(path), Origin(path, DatasetError)
    builder, parser, depth = ElementTree.TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        DEPTH.check(depth, path, fault=origin.fault)
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: Any) -> None:
        raise origin.error("has a document type, which could define entities", "XML without <!DOCTYPE ...>")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, LookupError, ValueError, AssertionError) as error:
        raise origin.error("is not XML", found=error) from error


def dump_xml(root: ElementTree.Element) -> bytes:
    """Content of an XML file.

    Example:
        >>> track = ElementTree.Element("track", label="car")
        >>> _ = ElementTree.SubElement(track, "box", frame="3")
        >>> dump_xml(track).decode().splitlines()[1:]
        ['<track label="car">', '  <box frame="3" />', '</track>']
    """
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
