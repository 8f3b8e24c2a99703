"""Options that choose a data set, shared by the commands that read one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from thriftseg.datasets import DATASETS, VOS_DATASETS, ClipReader, VideoDataset, VOSDataset, create, create_vos

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


LABEL_DATASETS = (*DATASETS, *VOS_DATASETS)
"""Data sets of label maps, of classes or of objects."""


def add_reader_arguments(parser: ArgumentParser, names: Iterable[str] = DATASETS, *, required: bool = True) -> None:
    """Declare `--dataset`, `--root` and `--reader`.

    Args:
        parser: Parser of the command.
        names: Data sets that the command takes.
        required: Whether there is no other way to name what to read.
    """
    kind = str if required else str | None
    parser.add_argument("--dataset", type=kind, required=required, help=f"one of {', '.join(names)}")
    parser.add_argument("--root", type=str | None, metavar="DIR", help="folder of the data; else the environment")
    parser.add_argument(
        "--reader",
        type=dict[str, Any],
        default={},
        metavar="JSON",
        help='further settings of the reader, such as \'{"view": "cityscapes"}\' for idd',
    )


def reader_of(args: Namespace) -> VideoDataset:
    """The reader that the options name.

    Raises:
        ConfigError: There is no data set of this name.
    """
    return create(args.dataset, args.root, **args.reader)


def vos_reader_of(args: Namespace) -> VOSDataset:
    """The reader of masks of objects that the options name.

    Raises:
        ConfigError: There is no such data set with masks of objects.
    """
    return create_vos(args.dataset, args.root, **args.reader)


def has_objects(args: Namespace) -> bool:
    """Whether the options name a data set with masks of objects instead of labels of classes."""
    return args.dataset.lower() in VOS_DATASETS


def label_reader_of(args: Namespace) -> ClipReader[Any]:
    """The reader that the options name, of labels of classes or of masks of objects."""
    return vos_reader_of(args) if has_objects(args) else reader_of(args)


def announced_reader(args: Namespace) -> VideoDataset:
    """The reader that the options name, after printing which folder it reads."""
    dataset = reader_of(args)
    print(dataset.describe_root())
    return dataset
