"""`thriftseg label export | import`: labels on the way to annotation tools and back."""

from __future__ import annotations

from typing import Any

from thriftseg.cli.options.reader import AnyData, ClassData


def export(data: AnyData, split: str = "train", **options: Any) -> int:
    """Write labels in the format of an annotation tool, to be corrected there.

    Args:
        data: The data set.
        split: Split of the labels.
        options: Those of `thriftseg.exchange.export_labels`.
    """
    from thriftseg.exchange import export_labels

    print(export_labels(data.open(), split, **options))
    return 0


def take_in(data: ClassData, split: str = "train", **options: Any) -> int:
    """Take labels made in an annotation tool into the label store.

    Args:
        data: The data set.
        split: Split of the labels.
        options: Those of `thriftseg.exchange.import_labels`.
    """
    from thriftseg.exchange import import_labels

    print(import_labels(data.open(), split, **options))
    return 0
