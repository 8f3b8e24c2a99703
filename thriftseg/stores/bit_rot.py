"""Finding stored labels that are not what was written."""

from __future__ import annotations

from pathlib import Path

from thriftseg.datasets import Finding, list_folders
from thriftseg.errors import ThriftsegError
from thriftseg.parsing import read_bytes
from thriftseg.pixels import open_image
from thriftseg.stores.label_store import LabelStore
from thriftseg.taxonomies import Taxonomy

_KIND = "stored label"


def find_rot(root: str | Path, taxonomy: Taxonomy) -> list[Finding]:
    """Compare every label of all sources with the digest in its manifest, and decode the images beside them.

    Args:
        root: Folder of the label store; without one there is nothing to find.
        taxonomy: Class table of the labels.

    Returns:
        Files that are missing or damaged, source by source.
    """
    return [finding for folder in list_folders(Path(root)) for finding in _of_source(folder, taxonomy)]


def _of_source(folder: Path, taxonomy: Taxonomy) -> list[Finding]:
    try:
        store = LabelStore(folder.parent, folder.name, taxonomy)
        labels = {store.file_of(row) for row in store.labels.values()}
        damaged = dict.fromkeys(store.verify())
    except ThriftsegError as error:
        return [Finding(_KIND, error.headline)]
    findings = [Finding(_KIND, f"{path}: missing, or not what was written") for path in damaged]
    for path in sorted({*folder.rglob("*.png")} - labels):
        try:
            with open_image(path, read_bytes(path)) as image:
                image.load()
        except ThriftsegError as error:
            findings.append(Finding(_KIND, error.headline))
    return findings
