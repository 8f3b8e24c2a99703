"""`thriftseg zoo list | publish | import | export`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Run the chosen sub-command."""
    return run_action(ACTIONS, args)


def _declare_import(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=str, metavar="FILE", help="checkpoint of the authors (.pth, .pkl, .safetensors)")
    parser.add_argument(
        "--arch", type=str, required=True, metavar="NAME", help="name of the network, such as tmanet_r50"
    )
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="weights to write (.safetensors)")
    parser.add_argument(
        "--set",
        type=str,
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="constructor arguments that the weights do not tell, such as align_corners=false",
    )


def _import(args: Namespace) -> int:
    from thriftseg.zoo import import_checkpoint

    print(import_checkpoint(args.arch, args.file, args.out, dict(map(_assignment, args.set))))
    return 0


def _assignment(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`, where the value is written as in a config."""
    import yaml

    name, _, value = text.partition("=")
    with suppress(yaml.YAMLError):
        if name and value:
            return name, yaml.safe_load(value)
    raise ConfigError("not an assignment", expected="NAME=VALUE, such as align_corners=false", found=text)


def _declare_list(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=str | None, metavar="DIR", help="folder with an index; else where `load` looks"
    )
    parser.add_argument("--architectures", action="store_true", help="list networks without weights, too")


def _list(args: Namespace) -> int:
    from rich.console import Console

    from thriftseg.reports import catalog_table
    from thriftseg.zoo import list_models, list_published

    entries = list_published(args.folder)
    named = {entry.architecture for entry in entries.values()}
    others = [name for name in list_models() if name not in named] if args.architectures else []
    console = Console()
    if entries or others:
        console.print(catalog_table(entries, others))
    else:
        console.print(
            "nothing is published here; `thriftseg zoo publish` fills a folder, --architectures lists networks"
        )
    return 0


def _declare_publish(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=str, metavar="RUN.ckpt", help="checkpoint written by `thriftseg fit`")
    parser.add_argument("--name", type=str, required=True, metavar="ARCH.TAG", help="such as tmanet_r50.camvid_n1")
    parser.add_argument("--out", type=str, default="checkpoints", metavar="DIR", help="folder with the index")
    parser.add_argument(
        "--metrics",
        type=str,
        nargs="+",
        default=[],
        metavar="FILE",
        help="scores of these weights, as `thriftseg test` writes them; else those of the last validation",
    )
    parser.add_argument("--data", type=str | None, metavar="NAME", help="name of the data, if not that of the data set")
    parser.add_argument("--data_source", type=str | None, metavar="TEXT", help="where the data come from")
    parser.add_argument("--data_licence", type=str | None, metavar="TEXT", help="terms of the data")
    parser.add_argument("--licence", type=str | None, metavar="ID", help="licence of the weights, such as apache-2.0")
    parser.add_argument("--remarks", type=str, nargs="+", default=[], metavar="TEXT", help="sentences for the card")
    parser.add_argument("--half", action="store_true", help="store half precision: half the size, rounded weights")
    parser.add_argument("--hub", type=str | None, metavar="ORG/NAME", help="push to the Hugging Face hub, too")
    parser.add_argument("--overwrite", action="store_true", help="replace other content of this name")


def _publish(args: Namespace) -> int:
    from thriftseg.reports import publish

    done = publish(
        args.checkpoint,
        args.name,
        args.out,
        metrics=args.metrics,
        data=args.data,
        data_source=args.data_source,
        data_licence=args.data_licence,
        licence=args.licence,
        remarks=args.remarks,
        half=args.half,
        hub=args.hub,
        overwrite=args.overwrite,
    )
    score = f"mIoU {done.entry.miou:.4f}" if done.entry.miou is not None else "no scores on the card"
    print(f"{done.weights} ({done.entry.bytes / 1e6:.1f} MB, {score})" + ("" if done.changed else ", unchanged"))
    if done.entry.hub:
        print(f"pushed to {done.entry.hub}: thriftseg predict --weights hf:{done.entry.hub} --input VIDEO")
    return 0


def _declare_export(parser: ArgumentParser) -> None:
    parser.add_argument("weights", type=str, metavar="NAME|PATH|hf:ORG/NAME", help="published weights or a checkpoint")
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="what to write")
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="size of the frames; as the weights were scored if unset"
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, help="largest difference from torch, as a share of the largest logit"
    )


def _export(args: Namespace) -> int:
    from thriftseg.inference import load_weights
    from thriftseg.zoo import DEFAULT_SIZE, export_onnx

    loaded = load_weights(args.weights)
    size = tuple(args.size) if args.size else loaded.eval_size or DEFAULT_SIZE
    print(export_onnx(loaded.network, args.out, size, class_names=loaded.class_names, tolerance=args.tolerance))
    return 0


ACTIONS = {
    "list": Action(_declare_list, _list, "list the published checkpoints"),
    "publish": Action(
        _declare_publish, _publish, "publish a training checkpoint: safetensors, description, model card"
    ),
    "import": Action(_declare_import, _import, "turn a checkpoint of a network's authors into one of this package"),
    "export": Action(_declare_export, _export, "write a single-frame network as ONNX and check it by running it"),
}
