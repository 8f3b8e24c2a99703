"""Super-pixels: small regions that follow the edges of a frame, from several methods, kept on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.atomic import whole_file
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.parsing import decode_arrays, read_bytes

if TYPE_CHECKING:
    from thriftseg.zoo import SpixelFCN

AREA = 256
"""Pixels of a super-pixel on average: those of a 16 x 16 cell."""

INSTALL = 'pip install "thriftseg[superpixel]"'


@runtime_checkable
class SuperpixelMethod(Protocol):
    """Cuts a frame into super-pixels.

    Its `repr` names every setting that the cut depends on: stored maps are told apart by it.

    Example:
        >>> class Columns:
        ...     def segment(self, image): return np.tile(np.arange(image.shape[1], dtype=np.int32), (len(image), 1))
        >>> isinstance(Columns(), SuperpixelMethod), isinstance(SLIC(), SuperpixelMethod)
        (True, True)
    """

    def segment(self, image: UInt8Array) -> Int32Array:
        """Super-pixel of every pixel.

        Args:
            image: Frame, (H, W, 3) uint8 RGB.

        Returns:
            Ids, (H, W), in any order.
        """


@dataclass(frozen=True)
class SLIC:
    """Simple linear iterative clustering of colour and place (Achanta et al., TPAMI 2012), by scikit-image.

    Attributes:
        area: Pixels of a super-pixel on average.
        compactness: Weight of place against colour: larger gives squarer super-pixels.

    Raises:
        ConfigError: A value is out of range.
    """

    area: int = AREA
    compactness: float = 10.0

    def __post_init__(self) -> None:
        for name in ("area", "compactness"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} of super-pixels", expected="more than 0", found=getattr(self, name))

    def segment(self, image: UInt8Array) -> Int32Array:
        """Super-pixel of every pixel; see `SuperpixelMethod`.

        Raises:
            ConfigError: scikit-image is not installed.
        """
        try:
            from skimage.segmentation import slic
        except ImportError as error:
            raise ConfigError("scikit-image is not installed", found=error, fix=INSTALL) from error
        height, width = image.shape[:2]
        segments = max(1, round(height * width / self.area))
        ids = slic(image, n_segments=segments, compactness=self.compactness, start_label=0, channel_axis=-1)
        return np.asarray(ids, np.int32)


class NetworkSuperpixels:
    """Super-pixels by SpixelFCN.

    Args:
        network: The network, on the device that it shall run on.
    """

    def __init__(self, network: SpixelFCN) -> None:
        from thriftseg.zoo import weights_digest

        self.network = network
        self._digest = weights_digest(network)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.network).__name__}, weights={self._digest!r})"

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Super-pixels by the weights in a file; see `SpixelFCN.from_checkpoint`.

        Raises:
            CheckpointError: The file is missing or damaged, or its weights are of another network.
        """
        from thriftseg.zoo import SpixelFCN

        return cls(SpixelFCN.from_checkpoint(path))

    def segment(self, image: UInt8Array) -> Int32Array:
        """Super-pixel of every pixel; see `SuperpixelMethod`."""
        return self.network.superpixels(image)


@dataclass(frozen=True)
class SuperpixelStore:
    """A method whose maps are kept in a folder, one file by content of the frame and settings of the method.

    Any number of processes may use a folder at the same time; each file is there in full or not at all.

    Attributes:
        method: Cuts the frames whose maps are not there.
        folder: The folder; made when absent.
    """

    method: SuperpixelMethod
    folder: Path

    def segment(self, image: UInt8Array) -> Int32Array:
        """Super-pixel of every pixel, read if it is there; see `SuperpixelMethod`.

        Raises:
            DatasetError: A stored map is damaged.
        """
        digest = hashlib.sha256(f"{self.method!r} {image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
        path = self.folder / f"{digest.hexdigest()}.npz"
        if not path.exists():
            ids = self.method.segment(image)
            with whole_file(path) as stream:
                np.savez_compressed(stream, superpixels=ids)
            return ids
        fix = "delete the file"
        (stored,) = decode_arrays(read_bytes(path), path, "superpixels", fix=fix)
        if stored.shape != image.shape[:2] or stored.dtype.kind not in "iu":
            expected, found = f"{image.shape[:2]} integers", f"{stored.shape} {stored.dtype}"
            raise DatasetError("no super-pixels of this frame", path=path, expected=expected, found=found, fix=fix)
        return np.asarray(stored, np.int32)
