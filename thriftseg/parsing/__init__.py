"""The one reader of JSON, JSON lines, YAML, CSV and XML.

A file has a schema: a type that stands beside the code that uses its content, such as a `Record`, a data class, a typed
dictionary, or lists and dictionaries of these. What does not fit is one line of error with the file, the place in it,
what was expected and what was found. Only regular files are read, of a bounded size and depth; numbers are finite,
integers fit 64 bits, and text is UTF-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.parsing.archives import decode_arrays
    from thriftseg.parsing.files import read_bytes, read_lines, read_text
    from thriftseg.parsing.json_files import decode_json, parse_line, read_json, read_json_lines
    from thriftseg.parsing.schemas import (
        Amount,
        Count,
        Digits,
        FileName,
        Finite,
        Integer,
        Number,
        Record,
        Share,
        check,
        located,
    )
    from thriftseg.parsing.tables import read_csv
    from thriftseg.parsing.xml_files import dump_xml, read_xml
    from thriftseg.parsing.yaml_files import decode_yaml, read_yaml

__getattr__, __dir__, __all__ = face(__name__)
