"""Pictures of inspected labels: a sheet of overlays, and quality against the distance from the annotated frame."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets import encode_frame, resize_frame, resize_label
from thriftseg.drawing import blend, contact_sheet, legend
from thriftseg.errors import ConfigError
from thriftseg.labels.review.agreement import Agreement
from thriftseg.labels.review.inspect import InspectedLabel
from thriftseg.stores import LabelSource
from thriftseg.types import IGNORE_INDEX, LabelKind

_CELL_WIDTH = 400
_POINT_RADIUS = 3


def draw_sheet(
    labels: LabelSource, entries: Sequence[InspectedLabel], *, columns: int = 4, alpha: float = 0.55
) -> UInt8Array:
    """Labels laid over their frames, with their names and figures, above a legend.

    Args:
        labels: Reads the labels.
        entries: The labels to draw.
        columns: Pictures per row.
        alpha: Weight of the colours, 0..1.

    Returns:
        RGB picture.

    Raises:
        ConfigError: There is nothing to draw, or no column.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> from thriftseg.labels import inspect_labels
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for name in ("frames/7.png", "frames/8.png", "labels/7.png", "labels/8.png"):
        ...         write_label_png(Path(root, "train/drive", name), np.ones((40, 80), np.uint8))
        ...     manual = LabelSource(Folder(root), Path(root, "labels"), "manual")
        ...     found = inspect_labels(manual.dataset, "train", "manual", store=manual.root, progress=False)
        ...     one, two = draw_sheet(manual, found.labels[:1]), draw_sheet(manual, found.labels)
        >>> one.shape[1], two.shape[1]  # beside each other, four pixels apart
        (400, 804)
    """
    if columns < 1 or not entries:
        found = f"{len(entries)} labels, {columns} columns"
        raise ConfigError("an overlay sheet", expected="at least 1 label and 1 column", found=found)
    taxonomy = labels.dataset.taxonomy
    cells = [_overlay(labels, entry, alpha) for entry in entries]
    sheet = contact_sheet(cells, [_caption(entry) for entry in entries], columns=min(columns, len(cells)))
    return np.concatenate([sheet, legend(taxonomy.class_names, taxonomy.palette, sheet.shape[1])])


def write_sheet(picture: UInt8Array, path: str | Path) -> Path:
    """Write a picture as PNG; returns its path.

    Raises:
        ConfigError: The file name ends in something else.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import read_frame
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_sheet(np.full((4, 6, 3), 200, np.uint8), Path(folder, "sheet.png"))
        ...     path.name, read_frame(path).shape
        ('sheet.png', (4, 6, 3))
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ConfigError("the sheet is a PNG", path=path, expected="a name that ends in .png")
    write_bytes(path, encode_frame(picture, ".png"))
    return path


def plot_by_offset(by_offset: Mapping[int, Agreement], path: str | Path, title: str = "") -> Path:
    """Plot quality against the distance from the annotated frame; returns the path.

    Args:
        by_offset: Comparison with manual labels by offset.
        path: Picture to write; its ending names the format, such as `.png` or `.svg`.
        title: Heading.

    Raises:
        ConfigError: There is nothing to plot, or the format is unknown.

    Example:
        >>> import tempfile
        >>> truth, carried = np.array([[0, 1]], np.uint8), np.array([[0, 255]], np.uint8)
        >>> by_offset = {-1: Agreement.of(truth, carried, 2), 1: Agreement.of(truth, truth, 2)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = plot_by_offset(by_offset, Path(folder, "offsets.svg"), title="flow")
        ...     path.read_text().count("<svg")
        1
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if not by_offset:
        raise ConfigError(
            "no quality to plot against offset", path=path, expected="propagated labels of frames with manual labels"
        )
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    formats = canvas.get_supported_filetypes()
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in formats:
        raise ConfigError("no such format of a plot", path=path, expected=", ".join(sorted(formats)), found=suffix)
    axes = figure.add_subplot()
    offsets = list(by_offset)
    parts = list(by_offset.values())
    axes.bar(offsets, [part.ignored_share for part in parts], color="0.88", label="ignored pixels")
    axes.plot(offsets, [part.kept_miou for part in parts], "o--", color="tab:blue", label="mIoU of kept pixels")
    axes.plot(offsets, [part.miou for part in parts], "o-", color="tab:red", label="mIoU, ignored = wrong")
    axes.set(xlabel="offset from the annotated frame", ylabel="share", ylim=(0, 1), title=title)
    axes.grid(axis="y", alpha=0.4)
    figure.legend(loc="outside lower center", ncols=3)
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix, dpi=144)
    write_bytes(path, stream.getvalue())
    return path


def _overlay(labels: LabelSource, entry: InspectedLabel, alpha: float) -> UInt8Array:
    dataset, item = labels.dataset, entry.label
    frame, label = dataset.read_frame(item.clip, item.number), labels.read(item)
    height, width = label.shape
    size = (max(1, round(height * _CELL_WIDTH / width)), _CELL_WIDTH)
    if item.kind == LabelKind.CLICKS:
        return blend(resize_frame(frame, size), _dots(label, size), dataset.taxonomy.palette, 1.0)
    return blend(resize_frame(frame, size), resize_label(label, size), dataset.taxonomy.palette, alpha)


def _dots(label: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Single labelled pixels as discs, since they would get lost in a smaller picture."""
    drawn = np.full(size, IGNORE_INDEX, np.uint8)
    for row, column in np.argwhere(label != IGNORE_INDEX).tolist():
        centre = (column * size[1] // label.shape[1], row * size[0] // label.shape[0])
        cv2.circle(drawn, centre, _POINT_RADIUS, int(label[row, column]), thickness=-1)
    return drawn


def _caption(entry: InspectedLabel) -> str:
    figures = [entry.label.id, f"ignored {100 * entry.ignored_share:.0f} %"]
    if entry.agreement is not None:
        figures.append(f"right {100 * entry.accuracy:.0f} %")
    if entry.label.confidence is not None:
        figures.append(f"confidence {entry.label.confidence:.2f}")
    return "  ".join(figures)
