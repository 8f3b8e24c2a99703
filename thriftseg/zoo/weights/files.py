"""Weight files: safetensors, and beside them a JSON file that says what the weights are.

`<stem>.safetensors` holds the state of a network, `<stem>.json` its constructor record, the hash of the weights, how
frames are prepared, what the classes mean and whatever else is known. Reading verifies all of it and runs no code of
the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thriftseg.atomic import write_bytes
from thriftseg.errors import CheckpointError, DatasetError, ThriftsegError
from thriftseg.parsing import check, read_json
from thriftseg.taxonomies import LabelClass, Taxonomy
from thriftseg.zoo.network import Network, Preprocessing
from thriftseg.zoo.registry import rebuild
from thriftseg.zoo.weights.licences import tell_restrictions
from thriftseg.zoo.weights.notes import Card
from thriftseg.zoo.windows import SlidingWindow, WholeImage, inference_from_record, inference_record

FORMAT = "thriftseg-weights"
FORMAT_VERSION = 1
WEIGHTS_SUFFIX = ".safetensors"
CARD_SUFFIX = ".json"

_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar"})
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # a zip archive, as torch writes it; a bare pickle


@dataclass(frozen=True)
class Published:
    """A network read from a weight file, with all that is needed to use it.

    Attributes:
        network: The network with its weights, in evaluation mode; `network.preprocessing` is the recorded one.
        taxonomy: Names and colours of its classes; `None` where the file does not tell.
        inference: How frames are segmented.
        eval_size: Height and width that frames are resized to; `None` keeps their own.
        card: The whole content of the JSON file: metrics with their commands, labels and their cost, licences.
        path: The weight file.

    Example:
        >>> from thriftseg.zoo import SpixelFCN
        >>> published = Published(SpixelFCN(), None, WholeImage(), (96, 128), card={}, path=Path("own.safetensors"))
        >>> published.preprocessing.mean, published.eval_size
        ((0.411, 0.432, 0.45), (96, 128))
    """

    network: Any = field(repr=False)
    taxonomy: Taxonomy | None
    inference: WholeImage | SlidingWindow
    eval_size: tuple[int, int] | None
    card: dict[str, Any] = field(repr=False)
    path: Path

    @property
    def preprocessing(self) -> Preprocessing:
        """How frames are normalised before they enter the network."""
        preprocessing: Preprocessing = self.network.preprocessing
        return preprocessing


def encode_weights(network: nn.Module, *, half: bool = False) -> bytes:
    """The state of a network as a safetensors file. Equal states give equal bytes.

    Args:
        network: The network.
        half: Store floating point numbers in half precision. They are read back as rounded, in single precision.

    Raises:
        CheckpointError: A number is not finite, or too large for half precision.

    Example:
        >>> layer = nn.Linear(1000, 1, bias=False)
        >>> len(encode_weights(layer)) - len(encode_weights(layer, half=True))
        2000
    """
    from safetensors.torch import save

    tensors = {}
    for name, tensor in network.state_dict().items():
        stored = tensor.detach().cpu().contiguous().clone()  # entries that share memory cannot be stored
        if half and stored.is_floating_point():
            stored = stored.half()
        if stored.is_floating_point() and not stored.isfinite().all():
            raise CheckpointError(
                f"weight {name!r} is not finite" + (" in half precision" if half else ""),
                fix="publish in single precision" if half and tensor.isfinite().all() else "the training diverged",
            )
        tensors[name] = stored
    return save(tensors)


def describe_weights(
    network: Network,
    content: bytes,
    file: str,
    *,
    taxonomy: Taxonomy | None = None,
    inference: WholeImage | SlidingWindow | None = None,
    eval_size: tuple[int, int] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of the JSON file beside a weight file.

    Args:
        network: The network.
        content: The weight file, as `encode_weights` made it.
        file: Name of the weight file.
        taxonomy: Names and colours of the classes.
        inference: How frames are segmented; the whole image in one pass by default.
        eval_size: Height and width that frames are resized to; `None` keeps their own.
        notes: Further entries in plain values, such as metrics and licences.

    Example:
        >>> from thriftseg.zoo import SpixelFCN
        >>> card = describe_weights(SpixelFCN(), b"abc", "spixelfcn.safetensors", notes={"data": "BSDS500"})
        >>> card["data"], card["weights"]["bytes"], card["weights"]["sha256"][:8]
        ('BSDS500', 3, 'ba7816bf')
    """
    preprocessing = network.preprocessing
    classes = None
    if taxonomy is not None:
        rows = [{"name": row.name, "color": list(row.color)} for row in taxonomy.classes]
        classes = {"name": taxonomy.name, "version": taxonomy.version, "classes": rows}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **(notes or {}),
        "network": dict(network.record),
        "weights": {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
        "preprocessing": {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "channel_order": preprocessing.channel_order,
            "value_range": [0.0, 1.0],
        },
        "inference": inference_record(inference or WholeImage()),
        "eval_size": list(eval_size) if eval_size else None,
        "taxonomy": classes,
    }


def save_weights(
    network: Network,
    path: str | Path,
    *,
    taxonomy: Taxonomy | None = None,
    inference: WholeImage | SlidingWindow | None = None,
    eval_size: tuple[int, int] | None = None,
    half: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the weights of a network and the JSON file beside them; `load` reads them by path.

    Args:
        network: The network.
        path: Weight file to write, `*.safetensors`; an existing one is replaced.
        taxonomy: Names and colours of the classes.
        inference: How frames are segmented; the whole image in one pass by default.
        eval_size: Height and width that frames are resized to; `None` keeps their own.
        half: Store half precision, see `encode_weights`.
        notes: Further entries in plain values, such as metrics and licences.

    Returns:
        The content of the JSON file.

    Raises:
        CheckpointError: The path has another ending, or a weight is not finite.

    Example:
        >>> import tempfile
        >>> from thriftseg.zoo import SpixelFCN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = save_weights(SpixelFCN(), Path(folder, "own.safetensors"), eval_size=(96, 128))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['own.json', 'own.safetensors']
        >>> card["eval_size"], card["weights"]["parameters"]
        ([96, 128], 2269785)
    """
    path = Path(path)
    if path.suffix != WEIGHTS_SUFFIX:
        raise CheckpointError("weights are stored as safetensors", path=path, fix=f"end the name in {WEIGHTS_SUFFIX}")
    content = encode_weights(network, half=half)
    card = describe_weights(
        network, content, path.name, taxonomy=taxonomy, inference=inference, eval_size=eval_size, notes=notes
    )
    write_bytes(path, content)
    write_bytes(path.with_suffix(CARD_SUFFIX), encode_card(card))
    return card


def encode_card(card: Mapping[str, Any]) -> bytes:
    """The JSON file of a card.

    Example:
        >>> encode_card({"labels": {"hours": 1.5}}).decode().splitlines()
        ['{', '  "labels": {', '    "hours": 1.5', '  }', '}']
    """
    return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()


def read_weights(
    path: str | Path, device: str | torch.device = "cpu", *, expected_sha256: str | None = None
) -> Published:
    """Read a weight file and the JSON file beside it, strictly.

    Args:
        path: The `.safetensors` file, its `.json`, or a folder that holds one pair.
        device: Device of the network.
        expected_sha256: Hash that the weight file must have, beside the one its JSON file states.

    Raises:
        CheckpointError: A file is missing, damaged, cut short, or pickled; its hash differs; or the weights belong to
            another network than the one named.
    """
    weights_path, card = _locate(Path(path))
    tensors = _read_tensors(weights_path, card, expected_sha256)
    network = _rebuild(card, weights_path)
    check_weights(network, tensors, weights_path)
    network.load_state_dict(tensors)
    try:
        network.preprocessing = _preprocessing(card["preprocessing"])
        published = Published(
            network=network.to(device).eval(),
            taxonomy=_taxonomy(card.get("taxonomy")),
            inference=inference_from_record(card.get("inference"), weights_path.with_suffix(CARD_SUFFIX)),
            eval_size=tuple(card["eval_size"]) if card.get("eval_size") else None,
            card=card,
            path=weights_path,
        )
    except DatasetError as error:  # about the class table
        card_path = weights_path.with_suffix(CARD_SUFFIX)
        raise CheckpointError(error.problem, path=card_path, expected=error.expected, found=error.found) from error
    tell_restrictions(card, weights_path)
    return published


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the JSON file of a weight file.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or of a newer version.
    """
    path, fix = Path(path), "copy it again"
    if not path.exists():
        raise CheckpointError(
            "the JSON file that belongs to the weights is missing", path=path, fix="keep both files in one folder"
        )
    card = read_json(path, dict[str, Any], fault=CheckpointError, fix=fix)
    if card.get("format") != FORMAT:
        raise CheckpointError("does not describe weights of this package", path=path, expected=f"format {FORMAT}")
    if card.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            "unknown version of the weight format",
            path=path,
            expected=FORMAT_VERSION,
            found=card.get("format_version"),
            fix="update thriftseg",
        )
    check(card, Card, path, fault=CheckpointError, fix=fix)
    return card


def check_weights(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path | None) -> None:
    """Compare names and shapes of weights with the network that shall take them.

    Args:
        network: The network.
        weights: State dict meant for it.
        path: File named in the error.

    Raises:
        CheckpointError: A name is missing or too many, a shape differs, or a weight is not finite.

    Example:
        >>> try:
        ...     check_weights(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)}, "own.ckpt")
        ... except CheckpointError as error:
        ...     print(error.found)
        1 missing, 0 unknown, 1 of another shape, such as bias
    """
    own = network.state_dict()
    missing, surplus = own.keys() - weights.keys(), weights.keys() - own.keys()
    differing = [key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape]
    if not (missing or surplus or differing):
        broken = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
        if broken:
            raise CheckpointError(f"weight {broken[0]!r} is not finite", path=path, fix="the training diverged")
        return
    example = min([*missing, *surplus, *differing])
    raise CheckpointError(
        f"weights belong to another network than {type(network).__name__}",
        path=path,
        found=f"{len(missing)} missing, {len(surplus)} unknown, {len(differing)} of another shape, such as {example}",
        fix="use the network and the number of classes that the checkpoint was trained with",
    )


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a network's state, whatever file it came from.

    Example:
        >>> layer = nn.Conv2d(1, 1, 1)
        >>> before = weights_digest(layer)
        >>> with torch.no_grad():
        ...     _ = layer.bias.add_(1)
        >>> weights_digest(layer) == before
        False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _locate(path: Path) -> tuple[Path, dict[str, Any]]:
    """The weight file that a path means, and its card."""
    if path.is_dir():
        cards = [card for card in sorted(path.glob(f"*{CARD_SUFFIX}")) if card.with_suffix(WEIGHTS_SUFFIX).is_file()]
        if len(cards) != 1:
            raise CheckpointError(
                "not a folder of one published checkpoint",
                path=path,
                expected="one .safetensors file with its .json",
                found=", ".join(card.name for card in cards) or "none",
            )
        path = cards[0]
    if path.suffix == CARD_SUFFIX:
        card = read_card(path)
        return path.with_name(_file_name(card, path)), card
    if not path.is_file():
        raise CheckpointError("no such weight file", path=path, fix="pass a .safetensors file with its .json beside it")
    if path.suffix in _PICKLE_SUFFIXES:
        raise _pickled(path)
    return path, read_card(path.with_suffix(CARD_SUFFIX))


def _file_name(card: Mapping[str, Any], path: Path) -> str:
    name: str = card["weights"]["file"]
    if Path(name).name != name or not name.endswith(WEIGHTS_SUFFIX):
        raise CheckpointError("names no weight file", path=path, expected="weights.file in the same folder", found=name)
    return name


def _read_tensors(path: Path, card: Mapping[str, Any], expected_sha256: str | None) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    _file_name(card, path.with_suffix(CARD_SUFFIX))
    if not path.is_file():
        raise CheckpointError("the weight file is missing", path=path, fix="fetch it next to its JSON file")
    content = path.read_bytes()
    # A safetensors file begins with the length of its JSON header in eight bytes, which may look like a pickle.
    has_header = content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content)
    if content.startswith(_PICKLE_STARTS) and not has_header:
        raise _pickled(path)
    stated = card["weights"]
    if len(content) != stated["bytes"]:
        problem = "the weight file is cut short" if len(content) < stated["bytes"] else "wrong weight file"
        found = f"{len(content)} bytes"
        raise CheckpointError(problem, path=path, expected=stated["bytes"], found=found, fix="fetch it again")
    found = hashlib.sha256(content).hexdigest()
    for expected in (stated["sha256"], expected_sha256 or stated["sha256"]):
        if found != expected:
            raise CheckpointError(
                "the weights have another SHA-256 than stated",
                path=path,
                expected=expected,
                found=found,
                fix="fetch the file again, and do not use this one",
            )
    try:
        return load(content)
    except SafetensorError as error:
        raise CheckpointError("not a safetensors file", path=path, found=error) from error


def _pickled(path: Path) -> CheckpointError:
    return CheckpointError(
        "is not safetensors; pickled files are not loaded because they can run code",
        path=path,
        fix="publish a checkpoint of `thriftseg fit` with `thriftseg zoo publish`, import one of a network's authors "
        "with `thriftseg zoo import`",
    )


def _rebuild(card: Mapping[str, Any], path: Path) -> Network:
    record = card["network"]
    try:
        network: Network = rebuild(record)
    except ThriftsegError as error:
        raise CheckpointError(
            error.problem, path=path, expected=error.expected, found=error.found, fix=error.fix
        ) from error
    except Exception as error:  # constructors fail in ways of their own on arguments that make no sense
        raise CheckpointError(
            f"{record.get('class_path')} cannot be built from its recorded arguments", path=path, found=error
        ) from error
    return network


def _preprocessing(record: Mapping[str, Any]) -> Preprocessing:
    (m0, m1, m2), (s0, s1, s2) = map(float, record["mean"]), map(float, record["std"])
    return Preprocessing((m0, m1, m2), (s0, s1, s2), record["channel_order"])


def _taxonomy(record: Mapping[str, Any] | None) -> Taxonomy | None:
    if record is None:
        return None
    rows = [
        LabelClass(index, entry["name"], index, tuple(entry["color"])) for index, entry in enumerate(record["classes"])
    ]
    return Taxonomy(record["name"], record["version"], tuple(rows))
