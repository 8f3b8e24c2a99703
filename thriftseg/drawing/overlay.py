"""Label maps as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from thriftseg.arrays import UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.taxonomies import Color
from thriftseg.types import IGNORE_INDEX

Palette = Sequence[Color]

CORRECT_COLOR: Color = (88, 164, 108)
WRONG_COLOR: Color = (214, 56, 48)
IGNORED_COLOR: Color = (40, 40, 44)

_INK: Color = (245, 245, 245)
_PAPER: Color = (24, 24, 27)
_CAPTION_HEIGHT = 22
_FONT_SIZE = 13


def colorize(label: UInt8Array, palette: Palette, *, ignore_color: Color = (0, 0, 0)) -> UInt8Array:
    """Paint every train id in its colour.

    Args:
        label: (H, W) train ids.
        palette: RGB colour per train id.
        ignore_color: Colour of 255 and of ids that the palette does not have.

    Returns:
        (H, W, 3) RGB.

    Example:
        >>> colorize(np.array([[1, 255]], np.uint8), [(128, 64, 128), (0, 0, 142)]).tolist()
        [[[0, 0, 142], [0, 0, 0]]]
    """
    table = np.empty((256, 3), dtype=np.uint8)
    table[:] = ignore_color
    colors = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)[:IGNORE_INDEX]
    table[: len(colors)] = colors
    return table[_ids(label)]


def blend(image: UInt8Array, label: UInt8Array, palette: Palette, alpha: float = 0.5) -> UInt8Array:
    """Lay the colours of a label map over its frame; ignored pixels show the frame alone.

    Args:
        image: (H, W, 3) RGB frame.
        label: (H, W) train ids.
        palette: RGB colour per train id.
        alpha: Weight of the colours in [0, 1].

    Returns:
        (H, W, 3) RGB.

    Raises:
        ConfigError: The sizes of frame and label differ, or `alpha` lies outside [0, 1].

    Example:
        >>> frame, label = np.full((1, 2, 3), 100, np.uint8), np.array([[0, 255]], np.uint8)
        >>> blend(frame, label, [(200, 0, 0)]).tolist()
        [[[150, 50, 50], [100, 100, 100]]]
    """
    if not 0 <= alpha <= 1:
        raise ConfigError("alpha of an overlay is out of range", expected="0 to 1", found=alpha)
    _check_same_size(image, label, "frame and label")
    mixed = cv2.addWeighted(image, 1 - alpha, colorize(label, palette), alpha, 0)
    uncovered = _ids(label) >= min(len(palette), IGNORE_INDEX)
    mixed[uncovered] = image[uncovered]
    return np.asarray(mixed, dtype=np.uint8)


def error_map(
    pred: UInt8Array,
    target: UInt8Array,
    *,
    correct: Color = CORRECT_COLOR,
    wrong: Color = WRONG_COLOR,
    ignored: Color = IGNORED_COLOR,
) -> UInt8Array:
    """Show where a prediction is right, wrong, or not scored because the target is 255.

    Args:
        pred: (H, W) predicted train ids.
        target: (H, W) true train ids, 255 = ignore.
        correct: Colour of right pixels.
        wrong: Colour of wrong pixels.
        ignored: Colour of pixels without a label.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ConfigError: The sizes of prediction and target differ.

    Example:
        >>> truth, found = np.array([[0, 0, 255]], np.uint8), np.array([[0, 1, 1]], np.uint8)
        >>> error_map(found, truth)[0].tolist()  # right, wrong, not scored
        [[88, 164, 108], [214, 56, 48], [40, 40, 44]]
    """
    _check_same_size(pred, target, "prediction and target")
    state = np.where(target == IGNORE_INDEX, 2, (pred != target).astype(np.uint8))
    return np.array([correct, wrong, ignored], dtype=np.uint8)[state]


def side_by_side(images: Sequence[UInt8Array], captions: Sequence[str] | None = None, *, gap: int = 4) -> UInt8Array:
    """Put pictures next to each other, each below its caption.

    Args:
        images: RGB pictures, scaled to the height of the first.
        captions: One line per picture.
        gap: Pixels between pictures.

    Returns:
        RGB picture.

    Raises:
        ConfigError: There is no picture, or the number of captions differs from that of pictures.

    Example:
        >>> side_by_side([np.zeros((20, 30, 3), np.uint8), np.zeros((40, 20, 3), np.uint8)], gap=4).shape
        (20, 44, 3)
    """
    return contact_sheet(images, captions, columns=max(1, len(images)), gap=gap)


def contact_sheet(
    images: Sequence[UInt8Array], captions: Sequence[str] | None = None, *, columns: int = 4, gap: int = 4
) -> UInt8Array:
    """Arrange pictures in rows.

    Args:
        images: RGB pictures, scaled to the height of the first; columns are as wide as their widest picture.
        captions: One line per picture.
        columns: Pictures per row.
        gap: Pixels between pictures.

    Returns:
        RGB picture.

    Raises:
        ConfigError: There is no picture, or the number of captions differs from that of pictures.

    Example:
        >>> pictures = [np.zeros((20, 30, 3), np.uint8)] * 3
        >>> contact_sheet(pictures, columns=2, gap=4).shape, contact_sheet(pictures, ["a", "b", "c"], columns=3).shape
        ((44, 64, 3), (42, 98, 3))
    """
    if not images:
        raise ConfigError("no pictures to arrange")
    if captions is not None and len(captions) != len(images):
        raise ConfigError("captions and pictures do not match", expected=len(images), found=len(captions))
    height = images[0].shape[0]
    cells = [_scaled_to_height(image, height) for image in images]
    if captions is not None:
        cells = [_with_caption(cell, text) for cell, text in zip(cells, captions, strict=True)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    widths = [max(row[column].shape[1] for row in rows if column < len(row)) for column in range(len(rows[0]))]
    cell_height = cells[0].shape[0]
    sheet = np.empty((len(rows) * (cell_height + gap) - gap, sum(widths) + gap * (len(widths) - 1), 3), dtype=np.uint8)
    sheet[:] = _PAPER
    for row_index, row in enumerate(rows):
        top = row_index * (cell_height + gap)
        for column, cell in enumerate(row):
            left = sum(widths[:column]) + column * gap
            sheet[top : top + cell_height, left : left + cell.shape[1]] = cell
    return sheet


def legend(class_names: Sequence[str], palette: Palette, width: int) -> UInt8Array:
    """A strip that names the colours, broken into as many lines as `width` needs.

    Args:
        class_names: Names in train id order.
        palette: RGB colour per train id.
        width: Width of the strip in pixels.

    Returns:
        (height, width, 3) RGB.

    Example:
        >>> names, palette = ["road", "car"], [(128, 64, 128), (0, 0, 142)]
        >>> legend(names, palette, width=200).shape, legend(names, palette, width=60).shape
        ((22, 200, 3), (44, 60, 3))
    """
    font = _font()
    swatch, space = 12, 10
    positions: list[tuple[int, int]] = []
    left, line = space, 0
    for name in class_names:
        entry = swatch + 5 + round(font.getlength(name)) + space
        if left + entry > width and left > space:
            left, line = space, line + 1
        positions.append((left, line * _CAPTION_HEIGHT))
        left += entry
    strip = Image.new("RGB", (width, (line + 1) * _CAPTION_HEIGHT), _PAPER)
    draw = ImageDraw.Draw(strip)
    for name, color, (x, y) in zip(class_names, palette, positions, strict=False):
        top = y + (_CAPTION_HEIGHT - swatch) // 2
        draw.rectangle((x, top, x + swatch - 1, top + swatch - 1), fill=tuple(color))
        draw.text((x + swatch + 5, y + _CAPTION_HEIGHT // 2), name, fill=_INK, font=font, anchor="lm")
    return np.array(strip)


def _ids(label: UInt8Array) -> UInt8Array:
    return np.asarray(label).astype(np.uint8, copy=False)


def _check_same_size(first: UInt8Array, second: UInt8Array, what: str) -> None:
    if first.shape[:2] != second.shape[:2]:
        raise ConfigError(f"sizes of {what} differ", expected=first.shape[:2], found=second.shape[:2])


def _scaled_to_height(image: UInt8Array, height: int) -> UInt8Array:
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _with_caption(image: UInt8Array, text: str) -> UInt8Array:
    strip = Image.new("RGB", (image.shape[1], _CAPTION_HEIGHT), _PAPER)
    ImageDraw.Draw(strip).text((6, _CAPTION_HEIGHT // 2), text, fill=_INK, font=_font(), anchor="lm")
    return np.concatenate([np.array(strip), image])


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)
