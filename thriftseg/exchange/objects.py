"""Stored labels of objects as a folder that the tools of DAVIS read."""

from __future__ import annotations

from pathlib import Path

from thriftseg.atomic import write_bytes
from thriftseg.datasets import PALETTE, VOSDataset, encode_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.stores import LabelStore, store_root
from thriftseg.taxonomies import OBJECT_IDS

RESOLUTION = "480p"


def export_objects(
    dataset: VOSDataset, split: str, out: str | Path, *, source: str, store: str | Path | None = None
) -> int:
    """Write the labels of a source in the folders of DAVIS; links or copies of the frames complete them.

        out/Annotations/480p/{video}/{frame name}.png      palette PNG of object ids, 255 = ignore
        out/ImageSets/2017/{split}.txt                     the videos

    Args:
        dataset: The data set, which gives the names of the frames.
        split: Its split.
        out: Folder to write to.
        source: Name of the labels in the store.
        store: Folder of the label store; `labels/<dataset>` when absent.

    Returns:
        Number of labels.

    Raises:
        LabelStoreError: There are no labels of this split, or one is damaged or of another size than its frame.
    """
    labels = LabelStore(store_root(store, dataset.name), source, OBJECT_IDS)
    clips = {clip.video: clip for clip in dataset.clips(split)}
    frames = [frame for frame in sorted(labels.usable) if frame[0] in clips]
    if not frames:
        raise LabelStoreError(f"source {source!r} has no labels of split {split!r}", path=labels.folder)
    for video, number in frames:
        ids, clip = labels.read(video, number, verify=True), clips[video]
        if ids.shape != dataset.clip_size(clip):
            raise LabelStoreError(
                "the stored label has another size than the frame",
                path=labels.path_of(video, number),
                expected=dataset.clip_size(clip),
                found=ids.shape,
            )
        target = Path(out) / "Annotations" / RESOLUTION / video / f"{clip.frame_name(number)}.png"
        write_bytes(target, encode_label_png(ids, PALETTE))
    videos = sorted({video for video, _ in frames})
    write_bytes(Path(out) / "ImageSets" / "2017" / f"{split}.txt", "".join(f"{video}\n" for video in videos).encode())
    return len(frames)
