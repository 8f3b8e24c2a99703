"""Class names of annotation files, translated into a class table."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from thriftseg.errors import DatasetError
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import IGNORE_INDEX

_GROUP = "group"
_UNLABELLED = ("unlabeled", "unlabelled", "ignored", "void")


def train_ids_of(
    names: Collection[str], taxonomy: Taxonomy, path: Path, renamed: Mapping[str, str] | None = None
) -> dict[str, int | None]:
    """Translate class names.

    Case, spaces, `-` and `_` do not matter. Groups such as `cargroup` are drawn as their class. Names of ignored
    classes, and "unlabeled" or "void" in any table, give 255.

    Args:
        names: Names in the file.
        taxonomy: The class table.
        path: The file, for the message.
        renamed: Name in the file to name in the class table, for what differs.

    Returns:
        Name to train id; `None` for classes that label maps do not show (raw ids below 0).

    Raises:
        DatasetError: Some names are not in the table.

    Example:
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> train_ids_of(["Traffic_Light", "cargroup", "auto"], CITYSCAPES, Path("a.json"), {"auto": "car"})
        {'Traffic_Light': 6, 'cargroup': 13, 'auto': 13}
    """
    table = _table(taxonomy)
    keys = {name: _plain((renamed or {}).get(name, name)) for name in names}
    keys = {name: key if key in table else key.removesuffix(_GROUP) for name, key in keys.items()}
    unknown = sorted(name for name, key in keys.items() if key not in table)
    if unknown:
        raise DatasetError(
            f"{len(unknown)} class names outside the class table {taxonomy.name!r}",
            path=path,
            expected=", ".join(taxonomy.class_names),
            found=", ".join(map(repr, unknown)),
            fix=f'rename them in the tool, or pass --class_names \'{{"{unknown[0]}": "{taxonomy.class_names[0]}"}}\'',
        )
    return {name: table[key] for name, key in keys.items()}


def unlabelled_name(taxonomy: Taxonomy) -> str:
    """Name of pixels without a label: that of the first ignored class."""
    return next((row.name for row in taxonomy.table if row.ignored and row.id >= 0), _UNLABELLED[0])


def _table(taxonomy: Taxonomy) -> dict[str, int | None]:
    undrawn = {row.name for row in taxonomy.table if row.id < 0}
    known: dict[str, int | None] = dict.fromkeys(_UNLABELLED, IGNORE_INDEX)
    for name, train_id in taxonomy.train_id_of_name.items():
        known[_plain(name)] = None if name in undrawn else train_id
    return known


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip()).lower()
