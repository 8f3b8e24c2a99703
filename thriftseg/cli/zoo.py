"""`thriftseg zoo list | publish | import | export | profile`."""

from __future__ import annotations

from typing import Any, Literal

from thriftseg.errors import ConfigError
from thriftseg.parsing import decode_yaml


def _list(architectures: bool = False, **options: Any) -> int:
    """List the published checkpoints.

    Args:
        architectures: List networks without weights, too.
        options: Those of `thriftseg.zoo.list_published`.
    """
    from rich.console import Console

    from thriftseg.reports import catalog_table
    from thriftseg.zoo import list_models, list_published

    entries = list_published(**options)
    named = {entry.architecture for entry in entries.values()}
    others = [name for name in list_models() if name not in named] if architectures else []
    if entries or others:
        Console().print(catalog_table(entries, others))
    else:
        print("nothing is published here; `thriftseg zoo publish` fills a folder, --architectures lists networks")
    return 0


def _publish(checkpoint: str, /, **options: Any) -> int:
    """Publish a training checkpoint: safetensors, description, model card.

    Args:
        checkpoint: Checkpoint written by `thriftseg fit`.
        options: Those of `thriftseg.reports.publish`.
    """
    from thriftseg.reports import publish

    print(publish(checkpoint, **options))
    return 0


def _import(file: str, /, arch: str, out: str, set: list[str] | None = None) -> int:
    """Turn a checkpoint of a network's authors into one of this package.

    Args:
        file: Checkpoint of the authors (.pth, .pkl, .safetensors).
        arch: Name of the network, such as tmanet_r50.
        out: Weights to write (.safetensors).
        set: Constructor arguments that the weights do not tell, NAME=VALUE such as align_corners=false.
    """
    from thriftseg.zoo import import_checkpoint

    print(import_checkpoint(arch, file, out, dict(map(_assignment, set or []))))
    return 0


def _assignment(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`, where the value is written as in a config."""
    name, _, value = text.partition("=")
    if name and value:
        return name, decode_yaml(value, object, f"--set {name}", fault=ConfigError)
    raise ConfigError("not an assignment", expected="NAME=VALUE, such as align_corners=false", found=text)


def _export(
    weights: str, /, out: str, format: Literal["onnx"] = "onnx", size: tuple[int, int] | None = None, **options: Any
) -> int:
    """Write one step of a network as ONNX, with its memory going in and out, and check it by running it.

    Args:
        weights: Published weights, by name, path or hf:ORG/NAME, or a checkpoint.
        out: File to write.
        format: What to write.
        size: Height and width of the frames, the usual ones where they vary; as the weights were scored if unset.
        options: Those of `thriftseg.zoo.export_onnx`.
    """
    from thriftseg.inference import load_as, load_weights
    from thriftseg.zoo import DEFAULT_SIZE, Network, SemanticNetwork, export_onnx

    network = load_as(weights, Network)
    names: tuple[str, ...] = ()
    notes: dict[str, Any] = {}
    if isinstance(network, SemanticNetwork):
        loaded = load_weights(weights)
        names, notes = loaded.class_names, loaded.notes
        size = size or getattr(loaded.inference, "crop", None) or loaded.eval_size
    print(export_onnx(network, out, size or DEFAULT_SIZE, class_names=names, notes=notes, **options))
    return 0


def _profile(
    name: str,
    /,
    size: tuple[int, int] | None = None,
    num_classes: int = 19,
    options: dict[str, Any] | None = None,
    accelerator: str = "auto",
    warm_up: int = 5,
    frames: int = 20,
    out: str | None = None,
) -> int:
    """Measure parameters, operations and speed of a network on a stream of frames.

    Args:
        name: Name of a network, such as deeplabv3plus_resnet18, published weights, a checkpoint, or an exported file.
        size: Height and width of the frames; as the weights were scored, else 1024 2048, if unset.
        num_classes: Number of classes of a network that is built by its name.
        options: Further arguments of that network.
        accelerator: What to compute on: auto, cpu, gpu, or a device such as cuda:1.
        warm_up: Frames before the measurement.
        frames: Frames that are measured; their median counts.
        out: JSON file to write, too; tables read runs/<name>/profile.json.
    """
    from thriftseg.inference import choose_device, load_weights
    from thriftseg.zoo import SemanticNetwork, create_model, list_models, profile

    if name in list_models(kind="semantic"):
        network: SemanticNetwork = create_model(name, num_classes, **(options or {}))
    else:
        loaded = load_weights(name)
        network, size = loaded.network, size or loaded.eval_size
    found = profile(network, size, str(choose_device(accelerator)), warm_up, frames)
    print(f"{name} at {found.size[0]}x{found.size[1]} on {found.device}")
    if found.parameters is not None and found.gflops is not None:
        print(f"{found.parameters / 1e6:.2f} M parameters, {found.gflops:.1f} GFLOPs per frame (2 per multiply-add)")
    print(f"{found.milliseconds:.1f} ms per frame, {found.fps:.2f} frames per second (median of {frames})")
    if out is not None:
        found.write(out)
    return 0


ACTIONS = {"list": _list, "publish": _publish, "import": _import, "export": _export, "profile": _profile}
