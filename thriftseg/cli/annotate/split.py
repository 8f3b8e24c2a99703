"""`thriftseg annotate split`."""

from __future__ import annotations

from typing import Any

from thriftseg.cli.options.reader import ObjectData


def run(data: ObjectData, **options: Any) -> int:
    """List the videos to train, validate and test eva-vos on.

    Args:
        data: The data set.
        options: Those of `thriftseg.annotation.split_dataset`.
    """
    from thriftseg.annotation import split_dataset

    print(split_dataset(data.open(), **options))
    return 0
