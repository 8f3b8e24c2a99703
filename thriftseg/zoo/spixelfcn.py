"""SpixelFCN, which cuts a frame into super-pixels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from thriftseg.arrays import BoolArray, Int32Array, Int64Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.zoo.network import Network, Preprocessing, pad_to_multiple
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.weights.official import load_official

CELL = 16
"""Side in pixels of the grid cells that super-pixels grow from."""

SMALLEST_SHARE = 0.06
"""Regions smaller than this share of the mean cell join a neighbour, as in the code of the authors."""

_SLOPE = 0.1
_UNUSED = ("pred_mask1.", "pred_mask2.", "pred_mask3.")


@register_network("spixelfcn")
class SpixelFCN(Network):
    """Super-pixels by a fully convolutional network [0, 1].

    A regular grid of cells of 16 px is laid over the frame. For each pixel the network says how likely it belongs to
    its own cell or to one of the eight around it; the most likely ones make the super-pixels. Modules are called as in
    [1]. Random initialisation: He normal convolutions for leaky ReLU, zero biases.

    [0] Yang, Sun, Jin and Zhou, Superpixel Segmentation with Fully Convolutional Networks, CVPR 2020.
    [1] https://github.com/fuy34/superpixel_fcn

    Example:
        >>> SpixelFCN().eval()(torch.zeros(1, 3, 48, 70)).shape
        torch.Size([1, 9, 48, 70])
        >>> regions = SpixelFCN().superpixels(np.zeros((48, 70, 3), np.uint8))
        >>> regions.shape, regions.dtype, int(regions[0, 0])
        ((48, 70), dtype('int32'), 0)
    """

    kind: ClassVar[str] = "superpixels"
    preprocessing = Preprocessing(mean=(0.411, 0.432, 0.45))
    size_multiple = CELL

    def __init__(self) -> None:
        super().__init__()
        self.conv0a, self.conv0b = _conv(3, 16), _conv(16, 16)
        self.conv1a, self.conv1b = _conv(16, 32, stride=2), _conv(32, 32)
        self.conv2a, self.conv2b = _conv(32, 64, stride=2), _conv(64, 64)
        self.conv3a, self.conv3b = _conv(64, 128, stride=2), _conv(128, 128)
        self.conv4a, self.conv4b = _conv(128, 256, stride=2), _conv(256, 256)
        self.deconv3, self.conv3_1 = _deconv(256, 128), _conv(256, 128)
        self.deconv2, self.conv2_1 = _deconv(128, 64), _conv(128, 64)
        self.deconv1, self.conv1_1 = _deconv(64, 32), _conv(64, 32)
        self.deconv0, self.conv0_1 = _deconv(32, 16), _conv(32, 16)
        self.pred_mask0 = nn.Conv2d(16, 9, kernel_size=3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, _SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Read a checkpoint of the authors, or what `thriftseg zoo import` made of it.

        Args:
            path: `SpixelNet_bsd_ckpt.tar` of [1], another file of its training, or a .safetensors file.

        Returns:
            The network in evaluation mode.

        Raises:
            CheckpointError: The file is missing or damaged, or its weights are of another network.
        """
        network = cls().eval()
        load_official(network, path)
        return network

    def forward(self, frames: Tensor) -> Tensor:
        """Associate pixels with grid cells.

        Args:
            frames: (B, 3, H, W) normalised, of any height and width; padded to multiples of 16 on the right and at the
                bottom by repeating the border.

        Returns:
            Probabilities (B, 9, H, W) of the cells around the pixel, row by row: top left, top, top right, left, the
            cell that the pixel lies in (channel 4), right, bottom left, bottom, bottom right.

        Raises:
            ConfigError: The shape is another one.
        """
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ConfigError("SpixelFCN cannot take these frames", expected="(B, 3, H, W)", found=tuple(frames.shape))
        height, width = frames.shape[-2:]
        stride1 = self.conv0b(self.conv0a(pad_to_multiple(frames, CELL)))
        stride2 = self.conv1b(self.conv1a(stride1))
        stride4 = self.conv2b(self.conv2a(stride2))
        stride8 = self.conv3b(self.conv3a(stride4))
        decoded = self.conv4b(self.conv4a(stride8))
        decoded = self.conv3_1(torch.cat([stride8, self.deconv3(decoded)], dim=1))
        decoded = self.conv2_1(torch.cat([stride4, self.deconv2(decoded)], dim=1))
        decoded = self.conv1_1(torch.cat([stride2, self.deconv1(decoded)], dim=1))
        decoded = self.conv0_1(torch.cat([stride1, self.deconv0(decoded)], dim=1))
        association: Tensor = self.pred_mask0(decoded).softmax(dim=1)
        return association[..., :height, :width]

    def superpixels(self, image: UInt8Array) -> Int32Array:
        """Cut an image into super-pixels.

        As in [1], the image is resized to multiples of 16 with bicubic interpolation and the map of cells back to the
        nearest pixel; see `connected_regions` for what follows. The network runs in evaluation mode, whichever mode it
        is in.

        Args:
            image: (H, W, 3) RGB.

        Returns:
            Ids of the super-pixels, (H, W), 0..n-1 in raster order of their first pixels; each is connected.

        Raises:
            ConfigError: The image is no RGB image of 8 bits.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ConfigError(
                "SpixelFCN cannot take this image", expected="(H, W, 3) uint8", found=f"{image.shape} {image.dtype}"
            )
        height, width = image.shape[:2]
        whole_cells = [-(-side // CELL) * CELL for side in (width, height)]
        fitted = np.asarray(cv2.resize(image, whole_cells, interpolation=cv2.INTER_CUBIC), np.uint8)
        cells = cv2.resize(self._cells(fitted), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        num_cells = fitted.shape[0] * fitted.shape[1] // CELL**2
        return connected_regions(np.asarray(cells, np.int32), int(SMALLEST_SHARE * height * width / num_cells))

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`; [1] stores predictors at lower resolutions that it never runs."""
        return None if key.startswith(_UNUSED) else key

    def _cells(self, image: UInt8Array) -> Int32Array:
        """Cell of every pixel of an image whose sides are multiples of 16."""
        pixels = torch.from_numpy(image).to(self.pred_mask0.weight.device)
        frames = self.preprocessing(pixels.permute(2, 0, 1).unsqueeze(0).float() / 255)
        training = self.training
        try:
            with torch.inference_mode():
                association = self.eval()(frames)
        finally:
            self.train(training)
        return np.asarray(nearest_cells(association)[0].cpu().numpy(), np.int32)


def nearest_cells(association: Tensor) -> Tensor:
    """Assign every pixel to its most likely cell.

    Args:
        association: (B, 9, H, W), as `SpixelFCN` returns it.

    Returns:
        Numbers of the grid cells, row by row, (B, H, W) int64. What points beyond the border of the grid stays in the
        outermost cells; of equally likely cells the first one counts.

    Example:
        >>> own = torch.eye(9)[4].view(1, 9, 1, 1).expand(1, 9, 32, 48)
        >>> nearest_cells(own)[0, [0, 0, 31], [15, 16, 47]].tolist()
        [0, 1, 5]
    """
    height, width = association.shape[-2:]
    rows, columns = -(-height // CELL), -(-width // CELL)
    place = association.argmax(dim=1)
    y = torch.arange(height, device=place.device).unsqueeze(1) // CELL
    x = torch.arange(width, device=place.device) // CELL
    row = (y + place // 3 - 1).clamp(0, rows - 1)
    column = (x + place % 3 - 1).clamp(0, columns - 1)
    return row * columns + column


def connected_regions(labels: Int32Array, smallest: int) -> Int32Array:
    """Cut a map into connected regions and let small ones join a neighbour.

    Pixels of one label that touch at a side make a region. A region of fewer than `smallest` pixels joins the neighbour
    that it shares the longest border with, of several the one that comes first in raster order; this is repeated until
    no region is small. (The code of the authors takes the neighbour that its search meets last, and cuts regions above
    three cells.)

    Args:
        labels: (H, W), any numbers.
        smallest: Pixels that a region must have to stay.

    Returns:
        Ids of the regions, (H, W), 0..n-1 in raster order of their first pixels.

    Example:
        >>> connected_regions(np.array([[7, 7, 2, 7], [7, 7, 2, 2]], np.int32), smallest=2).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    regions = _in_raster_order(_components(labels))
    while (small := np.bincount(regions.ravel()) < smallest).any() and small.size > 1:
        regions = _in_raster_order(_joined(regions, small))
    return regions


def _components(labels: Int32Array) -> Int32Array:
    """Numbers of the 4-connected components, (H, W).

    OpenCV knows binary maps only: in one of twice the size, set pixels between equal neighbours connect them.
    """
    height, width = labels.shape
    links = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    links[::2, ::2] = 1
    links[1::2, ::2] = labels[1:] == labels[:-1]
    links[::2, 1::2] = labels[:, 1:] == labels[:, :-1]
    _, found = cv2.connectedComponents(links, connectivity=4)
    return np.asarray(found[::2, ::2], np.int32)


def _in_raster_order(regions: Int32Array) -> Int32Array:
    """The same regions, numbered 0..n-1 by their first pixels."""
    _, first, inverse = np.unique(regions, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.int32)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[inverse].reshape(regions.shape)


def _joined(regions: Int32Array, small: BoolArray) -> Int32Array:
    """Every small region joins its best neighbour, and chains of them end in one region."""
    one, other, length = _borders(regions, small.size)
    best_first = np.lexsort((other, -length, one))
    members, position = np.unique(one[best_first], return_index=True)
    neighbour = np.arange(small.size)
    neighbour[members] = other[best_first][position]
    target = np.where(small, neighbour, np.arange(small.size))
    # Borders only grow along a chain, and equal ones lead to lower numbers: no cycle is longer than two regions.
    mutual = (target[target] == np.arange(small.size)) & (np.arange(small.size) < target)
    target[mutual] = np.flatnonzero(mutual)
    while (target != target[target]).any():
        target = target[target]
    return np.asarray(target[regions], np.int32)


def _borders(regions: Int32Array, count: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Pairs of touching regions, both ways round, and the number of pixel sides between them."""
    below = np.stack([regions[:-1].ravel(), regions[1:].ravel()])
    right = np.stack([regions[:, :-1].ravel(), regions[:, 1:].ravel()])
    pairs = np.concatenate([below, right], axis=1).astype(np.int64)
    pairs = pairs[:, pairs[0] != pairs[1]]
    codes = np.concatenate([pairs[0] * count + pairs[1], pairs[1] * count + pairs[0]])
    code, length = np.unique(codes, return_counts=True)
    return code // count, code % count, length.astype(np.int64)


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(_SLOPE),
    )


def _deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)
    )
