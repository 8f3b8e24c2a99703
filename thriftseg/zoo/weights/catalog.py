"""Published checkpoints by name: the index of a folder, and loading by name, by path or from the Hugging Face hub."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from thriftseg.atomic import write_bytes
from thriftseg.errors import CheckpointError
from thriftseg.parsing import Amount, Count, FileName, check, read_json
from thriftseg.resources import checkpoints_folder
from thriftseg.zoo.weights.files import CARD_SUFFIX, WEIGHTS_SUFFIX, Published, read_weights
from thriftseg.zoo.weights.onnx_stream import ONNX_SUFFIX

INDEX = "index.json"
INDEX_VERSION = 1
FOLDER_VARIABLE = "THRIFTSEG_CHECKPOINTS"
HUB_PREFIX = "hf:"

_PATH_SUFFIXES = frozenset({WEIGHTS_SUFFIX, CARD_SUFFIX, ONNX_SUFFIX, ".bin", ".ckpt", ".pkl", ".pt", ".pth"})


@dataclass(frozen=True)
class CatalogEntry:
    """One published checkpoint, as the index lists it.

    Attributes:
        file: Weight file, relative to the folder of the index.
        sha256: Its hash.
        bytes: Its size.
        architecture: Name of the network, see `create_model`.
        tag: What tells these weights from others of the network.
        data: Name of the data they were trained on.
        labels: Labels they were trained on, in words.
        hours: Hours of annotation in these labels; `None` if unknown.
        miou: mIoU on the card; `None` without one.
        hub: Repository on the Hugging Face hub that holds the weights, too.
        licence: Licence of the weights; `None` in an index of an earlier version.

    Example:
        >>> entry = list_published()["deeplabv3plus_mobilenetv2.synthetic_manual"]
        >>> entry.architecture, entry.tag, entry.labels
        ('deeplabv3plus_mobilenetv2', 'synthetic_manual', '240 manual')
    """

    file: FileName
    sha256: str
    bytes: Count
    architecture: str
    tag: str
    data: str | None = None
    labels: str | None = None
    hours: Amount | None = None
    miou: float | None = None
    hub: str | None = None
    licence: str | None = None


def load(source: str | Path, device: str | torch.device = "cpu") -> Published:
    """Load a published checkpoint, strictly and with its hash verified.

    Names are looked up in the folder that the environment variable `THRIFTSEG_CHECKPOINTS` names, in `checkpoints/` of
    the current folder, and among the checkpoints that ship with the package.

    Args:
        source: Name of a published checkpoint (`<architecture>.<tag>`), path of a `.safetensors` file, its `.json` or
            the folder that holds both, or `hf:<organisation>/<name>[@revision]` for the Hugging Face hub.
        device: Device of the network.

    Returns:
        The network in evaluation mode with preprocessing, class table, inference protocol and card.

    Raises:
        CheckpointError: There is no such checkpoint, or its files are missing, damaged, cut short, pickled, of another
            hash, or belong to another network.

    Example:
        >>> published = load("deeplabv3plus_mobilenetv2.synthetic_manual")
        >>> published.taxonomy.class_names[:2], published.eval_size
        (['road', 'sidewalk'], (128, 256))
    """
    text = str(source)
    if text.startswith(HUB_PREFIX):
        return read_weights(_download(text.removeprefix(HUB_PREFIX)), device)
    if names_a_path(source):
        return read_weights(source, device)
    folder, entry = _find(text)
    if not (folder / entry.file).is_file() and entry.hub:
        return read_weights(_download(entry.hub) / Path(entry.file).name, device, expected_sha256=entry.sha256)
    return read_weights(folder / entry.file, device, expected_sha256=entry.sha256)


def names_a_path(source: str | Path) -> bool:
    """Whether a text means a file or folder rather than a name or a repository.

    Example:
        >>> [names_a_path(text) for text in ("runs/best.ckpt", "tmanet_r50.camvid_n1", "hf:org/name")]
        [True, False, False]
    """
    path = Path(source)
    text = str(source)
    if text.startswith(HUB_PREFIX):
        return False
    return isinstance(source, Path) or path.suffix in _PATH_SUFFIXES or "/" in text or os.sep in text or path.exists()


def list_published(folder: str | Path | None = None) -> dict[str, CatalogEntry]:
    """Published checkpoints by name, sorted.

    Args:
        folder: Folder with an index; by default all in which `load` looks, the first that has a name wins.

    Raises:
        CheckpointError: There is no such folder, or an index is damaged or of another version.

    Example:
        >>> "deeplabv3plus_mobilenetv2.synthetic_manual" in list_published()
        True
    """
    if folder is not None and not Path(folder).is_dir():
        raise CheckpointError("no such folder", path=folder, expected=f"a folder with {INDEX}")
    found: dict[str, CatalogEntry] = {}
    for place in [Path(folder)] if folder is not None else list(_folders()):
        found = read_index(place) | found
    return dict(sorted(found.items()))


def read_index(folder: str | Path) -> dict[str, CatalogEntry]:
    """The index of a folder; empty where there is none.

    Raises:
        CheckpointError: The index is damaged or of another version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_index(folder)
        {}
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        return {}
    fix = "publish again into an empty folder"
    content = read_json(path, dict[str, Any], fault=CheckpointError, fix=fix)
    version = content.get("version")
    if version != INDEX_VERSION:
        raise CheckpointError(
            "unknown version of the index", path=path, expected=INDEX_VERSION, found=version, fix="update thriftseg"
        )
    index = check(content.get("checkpoints"), dict[str, CatalogEntry], path, "index", fault=CheckpointError, fix=fix)
    for name, entry in index.items():
        if Path(entry.file).is_absolute() or ".." in Path(entry.file).parts:
            raise CheckpointError(f"the weights of {name} lie outside the folder", path=path, found=entry.file, fix=fix)
    return index


def write_index(folder: str | Path, entries: Mapping[str, CatalogEntry]) -> None:
    """Replace the index of a folder, at once and in full.

    Example:
        >>> import tempfile
        >>> entry = CatalogEntry("own/a.safetensors", sha256="0" * 64, bytes=5, architecture="stm_r18", tag="own")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_index(folder, {"stm_r18.own": entry})
        ...     read_index(folder) == {"stm_r18.own": entry}
        True
    """
    listed = {name: asdict(entry) for name, entry in sorted(entries.items())}
    content = {"version": INDEX_VERSION, "checkpoints": listed}
    write_bytes(Path(folder) / INDEX, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _folders() -> Iterator[Path]:
    if os.environ.get(FOLDER_VARIABLE):
        yield Path(os.environ[FOLDER_VARIABLE])
    yield Path("checkpoints")
    yield checkpoints_folder()


def _find(name: str) -> tuple[Path, CatalogEntry]:
    known: list[str] = []
    for folder in _folders():
        entries = read_index(folder)
        if name in entries:
            return folder, entries[name]
        known += entries
    close = list(dict.fromkeys(difflib.get_close_matches(name, known, n=3, cutoff=0.5)))
    fix = "`thriftseg zoo list` shows the names; a path or hf:<organisation>/<name> works, too"
    if close:
        fix = f"did you mean {', '.join(close)}?"
    raise CheckpointError(f"no published checkpoint is called {name!r}", fix=fix)


def _download(repository: str) -> Path:
    """Fetch a repository of one published checkpoint into the cache of the hub's library."""
    from huggingface_hub import snapshot_download

    name, _, revision = repository.partition("@")
    patterns = [f"*{CARD_SUFFIX}", f"*{WEIGHTS_SUFFIX}"]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # hub, validation, network and file errors share no base class
        raise CheckpointError(
            f"{HUB_PREFIX}{repository} cannot be fetched ({type(error).__name__})",
            fix="check the name, that you are online, and for a private repository `hf auth login`",
        ) from error
