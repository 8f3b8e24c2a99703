"""`thriftseg label coarse`."""

from __future__ import annotations

from typing import Any

from thriftseg.cli.options.reader import ClassData


def run(data: ClassData, split: str = "train", **options: Any) -> int:
    """Coarse polygons drawn inside the objects of label maps.

    Args:
        data: The data set.
        split: Split to label.
        options: Those of `thriftseg.labels.label_coarse`.
    """
    from thriftseg.labels import label_coarse

    print(label_coarse(data.open(), split, **options))
    return 0
