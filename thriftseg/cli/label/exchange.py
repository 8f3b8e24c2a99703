"""`thriftseg label export | import`: labels on the way to annotation tools and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from thriftseg.cli.actions import Action
from thriftseg.cli.reader import LABEL_DATASETS, add_reader_arguments, announced_reader, label_reader_of
from thriftseg.datasets import DATASETS
from thriftseg.exchange import FORMATS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def _declare_shared(parser: ArgumentParser, datasets: Iterable[str]) -> None:
    add_reader_arguments(parser, datasets)
    parser.add_argument("--split", type=str, default="train", help="split of the labels")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--format", choices=list(FORMATS), required=True, help="format of the annotation tool")


def _declare_export(parser: ArgumentParser) -> None:
    _declare_shared(parser, LABEL_DATASETS)
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--source", type=str, default="manual", help="labels to write: manual, coarse, or of the store")
    parser.add_argument("--frames", type=str, default="all", help="all, or least-confident:N")
    parser.add_argument(
        "--objects",
        choices=["class", "instance", "component"],
        default="instance",
        help="what becomes one object of the tool; classes without instances stay whole",
    )
    parser.add_argument("--copy_images", type=bool, default=False, help="copy the images to DIR/images too")


def _export(args: Namespace) -> int:
    from thriftseg.exchange import export_labels

    dataset = label_reader_of(args)
    print(dataset.describe_root())
    summary = export_labels(
        dataset,
        args.split,
        args.out,
        args.format,
        source=args.source,
        store=args.store,
        frames=args.frames,
        objects=args.objects,
        copy_images=args.copy_images,
    )
    print(summary)
    return 0


def _declare_import(parser: ArgumentParser) -> None:
    _declare_shared(parser, DATASETS)
    parser.add_argument("--path", type=str, required=True, help="file or folder that the tool wrote")
    parser.add_argument("--source", type=str, required=True, help="name of the labels in the store")
    parser.add_argument(
        "--cost_model",
        choices=["polygon", "published"],
        default="polygon",
        help="prices a label map drawn from nothing",
    )
    parser.add_argument(
        "--seconds_per_frame", type=float | None, help="working time per frame, instead of the cost model"
    )
    parser.add_argument("--based_on", type=str | None, metavar="SOURCE", help="the labels that were corrected")
    parser.add_argument(
        "--class_names", type=dict[str, str], default={}, metavar="JSON", help="class in the file to class of the data"
    )


def _import(args: Namespace) -> int:
    from thriftseg.exchange import import_labels

    dataset = announced_reader(args)
    summary = import_labels(
        dataset,
        args.split,
        args.path,
        args.format,
        source=args.source,
        store=args.store,
        cost_model=args.cost_model,
        seconds_per_frame=args.seconds_per_frame,
        based_on=args.based_on,
        class_names=args.class_names,
    )
    print(summary)
    return 0


EXPORT = Action(_declare_export, _export, "write labels in the format of an annotation tool, to be corrected there")
IMPORT = Action(_declare_import, _import, "take labels made in an annotation tool into the label store")
