"""Publishing a training checkpoint: weights as safetensors, their description, a model card, and an index."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg import __version__
from thriftseg.atomic import PARTIAL_SUFFIX, write_bytes
from thriftseg.errors import CheckpointError
from thriftseg.folders import writes_alone
from thriftseg.inference import LoadedNetwork, cost_of_labels, load_network, read_checkpoint
from thriftseg.reports.publishing.lineage import lineage_of
from thriftseg.reports.publishing.model_card import model_card
from thriftseg.reports.run_scores import read_score_file
from thriftseg.zoo import (
    CARD_SUFFIX,
    WEIGHTS_SUFFIX,
    CatalogEntry,
    Network,
    architectures_of,
    describe_weights,
    encode_card,
    encode_weights,
    licences_behind,
    read_index,
    write_index,
)
from thriftseg.zoo import weights_digest as digest_of

CARD = "README.md"

_NAME = re.compile(r"(?P<architecture>[a-z0-9_]+)\.(?P<tag>[A-Za-z0-9_-]+)")
_RECIPE = ("objective", "loss", "optimizer", "lr_scheduler", "auxiliary_weight")


@dataclass(frozen=True)
class Publication:
    """Result of `publish`.

    Attributes:
        name: Name of the published checkpoint.
        folder: Folder of its files.
        weights: The weight file.
        entry: What the index says of it.
        changed: Whether anything was written; `False` when the very same was there already.

    Example:
        >>> entry = CatalogEntry("own/a.safetensors", "0" * 64, 2_500_000, "stm_r18", "own", miou=0.5)
        >>> print(Publication("stm_r18.own", Path("own"), Path("a.safetensors"), entry, changed=False))
        a.safetensors (2.5 MB, mIoU 0.5000), unchanged
    """

    name: str
    folder: Path
    weights: Path
    entry: CatalogEntry
    changed: bool

    def __str__(self) -> str:
        score = f"mIoU {self.entry.miou:.4f}" if self.entry.miou is not None else "no scores on the card"
        line = f"{self.weights} ({self.entry.bytes / 1e6:.1f} MB, {score})" + ("" if self.changed else ", unchanged")
        hub = self.entry.hub
        return f"{line}\npushed to {hub}: thriftseg predict --weights hf:{hub} --input VIDEO" if hub else line


@writes_alone("out")
def publish(
    checkpoint: str | Path,
    name: str,
    out: str | Path = "checkpoints",
    *,
    metrics: Sequence[str | Path] = (),
    data: str | None = None,
    data_source: str | None = None,
    data_licence: str | None = None,
    licence: str | None = None,
    remarks: Sequence[str] = (),
    half: bool = False,
    hub: str | None = None,
    overwrite: bool = False,
) -> Publication:
    """Publish the network of a training checkpoint.

    Writes into `out`:

        index.json                         every published checkpoint of the folder
        <name>/<name>-<sha8>.safetensors   weights; the name holds the first eight digits of their SHA-256
        <name>/<name>-<sha8>.json          network, classes, preprocessing, inference, scores, labels, licences
        <name>/README.md                   the same for people, with the header of a Hugging Face model card

    Scores stand on the card only together with the command that gave them: those of `metrics`, files that
    `thriftseg test` and `thriftseg validate` write, which must be of these very weights; else those of the last
    validation, where the checkpoint was written right after it by `thriftseg fit`.

    A new folder appears at once with all its files, and every file and the index are replaced at once: an interrupted
    call leaves nothing half-written, and the same call again completes it. Calls for the same `out` run one at a time.

    Args:
        checkpoint: Checkpoint of `SemanticSegmentation`.
        name: `<architecture>.<tag>`, where the architecture is a name of `zoo.list_models`.
        out: Folder with the index.
        metrics: JSON files with scores of these weights.
        data: Name of the data trained on; that of the data set by default.
        data_source: Where the data come from, or the command that made them.
        data_licence: Terms of the data; by default those of the data set, where known.
        licence: Licence of the weights, such as `apache-2.0`.
        remarks: Sentences for the card, such as what the weights are bad at.
        half: Store half precision. The published weights are the rounded ones, so scores must be measured on them.
        hub: Repository `<organisation>/<name>` on the Hugging Face hub to push the folder of the checkpoint to.
        overwrite: Replace other content of this name.

    Returns:
        Where everything is.

    Raises:
        CheckpointError: The checkpoint cannot be read, is of another architecture than the name says, the scores are
            of other weights, the name is taken, or the hub refuses the upload.

    Example:
        >>> import tempfile
        >>> try:
        ...     with tempfile.TemporaryDirectory() as folder:
        ...         publish("nowhere/last.ckpt", "stm_r18.own", folder)
        ... except CheckpointError as error:
        ...     print(error)
        nowhere/last.ckpt: no such checkpoint; fix: pass the path of a .ckpt file
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise CheckpointError(
            "not a name of a published checkpoint", expected="<architecture>.<tag>, as tmanet_r50.camvid_n1", found=name
        )
    architecture, tag = match["architecture"], match["tag"]
    loaded, raw = load_network(checkpoint), read_checkpoint(checkpoint)
    network = loaded.network
    _check_architecture(network, architecture, checkpoint)
    content = encode_weights(network, half=half)
    if half:
        network.half().float()
    start = raw["hyper_parameters"]["network"].get("init_args", {})
    labels = {"labels": loaded.labels or None, "teacher": loaded.metadata.get("teacher")}
    notes = {
        "name": name,
        "architecture": architecture,
        "tag": tag,
        "metrics": _scores(metrics, raw, network, rounded=half),
        **labels,
        "data": {"name": data or _dataset(loaded), "source": data_source},
        "training": _training(loaded, raw),
        "licences": lineage_of(_dataset(loaded), data, data_licence, licence, start, licences_behind(labels)),
        "remarks": list(remarks),
        "thriftseg": loaded.metadata.get("version", __version__),
    }
    files = _files(name, network, content, loaded, notes)
    folder = Path(out) / name
    changed = _install(files, folder, overwrite)
    entry = _entry(name, files, notes, read_index(out).get(name))
    _list(out, name, entry)
    if hub is not None:
        push(folder, hub)
        entry = CatalogEntry(**{**vars(entry), "hub": hub})
        _list(out, name, entry)
    return Publication(name, folder, Path(out) / entry.file, entry, changed)


def push(folder: str | Path, repository: str) -> None:
    """Upload the folder of a published checkpoint to the Hugging Face hub, making the repository where it is absent.

    Weights and descriptions that the folder does not hold are deleted from the repository.

    Args:
        folder: Folder of one published checkpoint.
        repository: `<organisation>/<name>`.

    Raises:
        CheckpointError: The upload fails.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, repo_type="model", exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=f"Publish {Path(folder).name}",
            ignore_patterns=[f"*{PARTIAL_SUFFIX}"],
            delete_patterns=[f"*{WEIGHTS_SUFFIX}", f"*{CARD_SUFFIX}"],
        )
    except Exception as error:  # hub, validation, network and file errors share no base class
        raise CheckpointError(
            f"cannot upload to {repository} ({type(error).__name__})",
            path=folder,
            found=str(error).strip().splitlines()[0] if str(error).strip() else None,
            fix="log in with `hf auth login`, and check that you may write there",
        ) from error


def _check_architecture(network: Network, architecture: str, path: str | Path) -> None:
    possible = architectures_of(network)
    if architecture not in possible:
        raise CheckpointError(
            "the checkpoint holds another architecture than the name says",
            path=path,
            expected=architecture,
            found=" or ".join(possible) or f"{type(network).__name__}, which has no name in `zoo.list_models`",
        )


def _scores(
    files: Sequence[str | Path], raw: Mapping[str, Any], network: Network, *, rounded: bool
) -> list[dict[str, Any]]:
    """Scores of these very weights, each with its command."""
    if files:
        digest = digest_of(network)
        return [_read_scores(Path(file), digest) for file in files]
    record = raw.get("callbacks", {}).get("RunRecord")
    if record is None or rounded or record["step"] != raw.get("global_step") or not record["scores"]:
        return []
    values = {key: value if math.isfinite(value) else None for key, value in record["scores"].items()}
    return [{"command": record["command"], "values": values}]


def _read_scores(path: Path, digest: str) -> dict[str, Any]:
    file = read_score_file(path)
    if file.network_sha256 != digest:
        raise CheckpointError(
            "the scores are of other weights",
            path=path,
            expected=digest[:8],
            found=str(file.network_sha256)[:8],
            fix="run `thriftseg test` on this checkpoint; after --half, on the published weights (--weights NAME)",
        )
    kept = {key: value for key, value in sorted(file.metrics.items()) if key.startswith(("test/", "val/"))}
    return {"command": file.command, "values": kept}


def _dataset(loaded: LoadedNetwork) -> str | None:
    return str(loaded.labels["dataset"]) if loaded.labels else loaded.taxonomy


def _training(loaded: LoadedNetwork, raw: Mapping[str, Any]) -> dict[str, Any]:
    settings = raw.get("hyper_parameters", {})
    return {
        "command": raw.get("callbacks", {}).get("RunRecord", {}).get("command"),
        "epoch": loaded.metadata.get("epoch"),
        "global_step": loaded.metadata.get("global_step"),
        "recipe": {key: settings[key] for key in _RECIPE if settings.get(key)},
    }


def _files(
    name: str, network: Network, content: bytes, loaded: LoadedNetwork, notes: Mapping[str, Any]
) -> dict[str, bytes]:
    """Names and contents of the three files, in the order in which they may appear one by one."""
    settings = {"taxonomy": loaded.class_table, "inference": loaded.inference, "eval_size": loaded.eval_size}
    card = describe_weights(network, content, "", notes=notes, **settings)  # type: ignore[arg-type]
    stem = f"{name}-{card['weights']['sha256'][:8]}"
    card["weights"]["file"] = f"{stem}{WEIGHTS_SUFFIX}"
    return {
        f"{stem}{WEIGHTS_SUFFIX}": content,
        CARD: model_card(card).encode(),
        f"{stem}{CARD_SUFFIX}": encode_card(card),
    }


def _install(files: Mapping[str, bytes], folder: Path, overwrite: bool) -> bool:
    """Put the files of a checkpoint in place; returns whether that changed anything."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*{PARTIAL_SUFFIX}"):  # of a killed call
        shutil.rmtree(left, ignore_errors=True)
    present = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    if present.keys() == files.keys() and all(present[name].read_bytes() == files[name] for name in files):
        return False
    if present and not overwrite:
        raise CheckpointError(
            "a checkpoint with other content has this name", path=folder, fix="pass --overwrite, or another --name"
        )
    if present:
        for name, content in files.items():
            write_bytes(folder / name, content)
        return True
    staged = folder.with_name(f".{folder.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        for name, content in files.items():
            write_bytes(staged / name, content)
        staged.rename(folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return True


def _entry(
    name: str, files: Mapping[str, bytes], notes: Mapping[str, Any], earlier: CatalogEntry | None
) -> CatalogEntry:
    weights, card = next(iter(files)), json.loads(list(files.values())[-1])
    labels = notes["labels"]
    same = earlier is not None and earlier.sha256 == card["weights"]["sha256"]
    return CatalogEntry(
        file=f"{name}/{weights}",
        sha256=card["weights"]["sha256"],
        bytes=card["weights"]["bytes"],
        architecture=notes["architecture"],
        tag=notes["tag"],
        data=notes["data"]["name"],
        labels=labels_in_words(labels),
        hours=cost_of_labels(notes).get("hours"),
        miou=headline_miou(notes["metrics"]),
        hub=earlier.hub if same and earlier is not None else None,
        licence=notes["licences"]["weights"],
    )


def _list(out: str | Path, name: str, entry: CatalogEntry) -> None:
    """Name the checkpoint in the index, and only then delete files that it replaced."""
    entries = read_index(out)
    if entries.get(name) != entry:
        write_index(out, entries | {name: entry})
    for suffix in (CARD_SUFFIX, WEIGHTS_SUFFIX):  # a description never stands without its weights
        for path in (Path(out) / name).glob(f"{name}-*{suffix}"):
            if path.stem != Path(entry.file).stem:
                path.unlink()


def labels_in_words(labels: Mapping[str, Any] | None) -> str | None:
    """Label sources of a mixture table with their numbers of samples.

    Example:
        >>> rows = [{"source": "manual", "samples": 80}, {"source": "flow", "samples": 160}, {"source": "total"}]
        >>> labels_in_words({"table": rows})
        '80 manual + 160 flow'
    """
    if labels is None:
        return None
    return " + ".join(f"{row['samples']} {row['source']}" for row in labels["table"] if row["source"] != "total")


def headline_miou(metrics: Sequence[Mapping[str, Any]]) -> float | None:
    """The mIoU to show first: of the test split, else of validation, else none."""
    for key in ("test/miou", "val/miou"):
        for scores in metrics:
            if scores["values"].get(key) is not None:
                return float(scores["values"][key])
    return None
