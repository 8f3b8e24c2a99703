"""`thriftseg label boxes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.cli.reader import add_reader_arguments, vos_reader_of
from thriftseg.datasets import VOS_DATASETS, VOSDataset
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.labels import BoxSegmenter, MaskFilter

METHODS = ("grabcut", "box2seg", "sam", "sam2")


def declare(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_reader_arguments(parser, VOS_DATASETS)
    parser.add_argument("--split", type=str, default="train", help="split to label")
    parser.add_argument("--store", type=str | None, metavar="DIR", help="label store; labels/<dataset> if unset")
    parser.add_argument("--source", type=str | None, help="name of the labels; boxes_<method>... if unset")
    _declare_boxes(parser)
    _declare_method(parser)
    _declare_masks(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of noise and fine-tuning")
    parser.add_argument("--export", type=str | None, metavar="DIR", help="write the labels in folders of DAVIS too")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or CPU processes, per node")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="what to compute on")
    parser.add_argument("--num_nodes", type=int, default=1, help="nodes that work together")


def _declare_boxes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from_tracks",
        "--from-tracks",
        type=str | None,
        metavar="FILE",
        help="boxes of a file: own JSON, COCO, TAO, or CSV of MOT",
    )
    parser.add_argument("--from_masks", "--from-masks", action="store_true", help="boxes around the true masks")
    parser.add_argument("--box_noise", type=float, default=0.0, help="shift of the sides of these, by their length")


def _declare_method(parser: ArgumentParser) -> None:
    parser.add_argument("--method", choices=METHODS, default="grabcut", help="what turns boxes into masks")
    parser.add_argument(
        "--weights", type=str | None, metavar="NAME|PATH", help="weights of box2seg (a checkpoint too), sam or sam2"
    )
    parser.add_argument(
        "--settings", type=dict[str, Any], default={}, metavar="JSON", help="further settings of the method"
    )


def _declare_masks(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--finetune", choices=["middle", "first", "random"], help="frame of each object whose drawn mask is learned"
    )
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps on that mask")
    parser.add_argument("--lr", type=float, default=1e-5, help="learning rate on that mask")
    parser.add_argument(
        "--filter", choices=["oracle", "list"], help="ignore boxes of bad masks: by the truth, or by a list"
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="least IoU of a good mask, for the oracle")
    parser.add_argument("--bad_list", type=str | None, metavar="CSV", help="bad masks as video,frame,object")
    parser.add_argument("--keep_soft", type=bool, default=False, help="store the probabilities of each object too")


def run(args: Namespace) -> int:
    """Label the boxes, and print what was made, how good it is and what it cost."""
    from thriftseg.labels import UnfinishedError, label_boxes

    if bool(args.from_tracks) == args.from_masks:
        raise ConfigError("boxes come from a file or from the masks", fix="give either --from_tracks or --from_masks")
    if args.from_tracks and args.box_noise:
        raise ConfigError("--box_noise moves boxes around true masks", fix="add --from_masks, or leave it out")
    segmenter, mask_filter = _segmenter(args), _filter(args)
    dataset = vos_reader_of(args)
    print(dataset.describe_root())
    try:
        summary = label_boxes(
            dataset,
            args.split,
            segmenter,
            tracks=_tracks(args, dataset),
            box_noise=args.box_noise,
            finetune=args.finetune,
            mask_filter=mask_filter,
            keep_soft=args.keep_soft,
            seed=args.seed,
            store=args.store,
            source=args.source,
            devices=args.devices,
            accelerator=args.accelerator,
            num_nodes=args.num_nodes,
        )
    except UnfinishedError as error:
        print(error.summary)
        raise
    print(summary)
    if args.export:
        from thriftseg.exchange import export_objects

        exported = export_objects(dataset, args.split, args.export, source=summary.folder.name, store=args.store)
        print(f"{exported} labels in the folders of DAVIS in {args.export}")
    return 0


def _tracks(args: Namespace, dataset: VOSDataset) -> Any:
    from thriftseg.exchange import read_box_tracks

    return read_box_tracks(args.from_tracks, dataset, args.split) if args.from_tracks else None


def _filter(args: Namespace) -> MaskFilter | None:
    from thriftseg.labels import MaskFilter

    if (args.filter == "list") != bool(args.bad_list):
        raise ConfigError("--filter list and --bad_list belong together", fix="give both or neither")
    if args.filter is None:
        return None
    return MaskFilter.from_file(args.bad_list) if args.bad_list else MaskFilter("oracle", args.threshold)


def _segmenter(args: Namespace) -> BoxSegmenter:
    from thriftseg.labels import PromptedSegmenter, create_prompter

    if args.method == "box2seg":
        return _box2seg(args)
    if args.finetune:
        raise ConfigError("only box2seg is fine-tuned", found=f"--method {args.method}", fix="leave --finetune out")
    if args.method == "grabcut" and args.weights:
        raise ConfigError("GrabCut has no weights", found=f"--weights {args.weights}", fix="leave them out")
    weights = {} if args.method == "grabcut" else {"weights": args.weights}
    return PromptedSegmenter(create_prompter(args.method, **weights, **args.settings))


def _box2seg(args: Namespace) -> BoxSegmenter:
    from thriftseg.labels import Box2SegSegmenter, FineTuning
    from thriftseg.lightning_modules import load_box2seg

    if not args.weights:
        raise ConfigError(
            "box2seg needs weights", fix="pass --weights NAME|PATH of a trained network, or take --method grabcut"
        )
    settings = dict(args.settings)
    if "crop" in settings:
        settings["crop"] = tuple(settings["crop"])
    tuning = FineTuning(steps=args.steps, lr=args.lr)
    try:
        return Box2SegSegmenter(load_box2seg(args.weights), tuning=tuning, **settings)
    except TypeError as error:
        raise ConfigError("wrong settings of box2seg", expected="crop, margin, clip_to_box", found=error) from error
