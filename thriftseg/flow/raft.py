"""Flow by RAFT, the network of torchvision, with weights of torchvision or of the authors."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.flow.estimators import check_frames

_MULTIPLE, _SMALLEST = 8, 128  # sizes that the network takes
_DUPLICATE = re.compile(r"\.layer\d\.\d\.norm3\.")  # also stored as the second part of `downsample`
_FROM_THE_AUTHORS = (
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"\.(layer\d\.\d)\.conv(\d)\.", r".\1.convnormrelu\2.0."),
    (r"\.(layer\d\.\d)\.norm(\d)\.", r".\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


class RAFT:
    """Recurrent all-pairs field transforms, the network of torchvision.

    Frames are padded on the right and bottom by repetition of their border, to multiples of 8 and at least 128 px, and
    the flow is cropped. No gradient flows, and the network stays in evaluation mode: it is no module, so neither
    `train()` nor checkpoints of a network that uses it reach it. One object may be used from several threads, which
    wait for each other, and sent to worker processes, which read the weights again.

    [0] Teed and Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020,
    https://arxiv.org/abs/2003.12039. [1] https://github.com/princeton-vl/RAFT

    Args:
        weights: State file (`.pth`) of torchvision's network, large or small, or of the authors' (such as
            raft-things.pth); or the name of weights that torchvision downloads, such as "C_T_SKHT_V2" of the large
            network or "Raft_Small_Weights.C_T_V2".
        iterations: Updates of the flow; 20 as in the authors' demonstration.
        device: Where `estimate` runs. "auto" is CUDA where there is one, but the CPU in workers of a data loader,
            which cannot use CUDA after a fork.
        half: Compute in half precision on CUDA, whatever the precision around it. The CPU takes single precision in
            any case.

    Raises:
        ConfigError: A setting is out of range, or no weights are given.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another network.

    Example:
        >>> import tempfile
        >>> from torchvision.models.optical_flow import raft_small
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(raft_small().state_dict(), Path(folder, "untrained.pth"))
        ...     raft = RAFT(Path(folder, "untrained.pth"), iterations=5)
        >>> repr(raft).split(", ")[0], repr(raft).split(", ")[-1]  # and the digest of the file between them
        ("RAFT(weights='untrained.pth'", 'iterations=5)')
    """

    software: ClassVar[str] = f"torchvision {torchvision.__version__}"

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        iterations: int = 20,
        device: str = "auto",
        half: bool = False,
    ) -> None:
        if iterations < 1:
            raise ConfigError("iterations is out of range", expected="at least 1", found=iterations)
        self.weights, self.iterations, self.device, self.half = weights, iterations, device, half
        self._identity, state = _read_weights(weights)
        self._network = _build(state, str(weights))
        self._turn = threading.Lock()  # the network keeps the correlation of a pair between its steps

    def __repr__(self) -> str:
        half = ", half=True" if self.half else ""
        return f"RAFT({self._identity}, iterations={self.iterations}{half})"

    def __reduce__(self) -> tuple[object, ...]:
        settings = ("iterations", "device", "half")
        return partial(type(self), self.weights, **{name: getattr(self, name) for name in settings}), ()

    def to(self, device: str) -> None:
        """Run `estimate` on a device from now on, where the constructor left the choice open."""
        if self.device == "auto":
            self.device = device

    def estimate(self, a: UInt8Array, b: UInt8Array) -> Float32Array:
        """Flow between two frames.

        Args:
            a: Frame a, (H, W, 3) uint8 RGB.
            b: Frame b, of the same shape.

        Returns:
            Flow a -> b, (2, H, W) float32.

        Raises:
            ValueError: The shapes disagree or are not (H, W, 3).
        """
        check_frames(a, b)
        device = self.device
        if device == "auto":
            in_worker = torch.utils.data.get_worker_info() is not None
            device = "cuda" if torch.cuda.is_available() and not in_worker else "cpu"
        pair = torch.from_numpy(np.stack([a, b])).to(device).permute(0, 3, 1, 2).float().div_(255)
        flow = self.forward(pair[:1], pair[1:])
        return np.asarray(flow[0].cpu().numpy(), np.float32)

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Flow of a batch, on the device that it lies on.

        Args:
            a: Frames a, (N, 3, H, W) RGB in [0, 1].
            b: Frames b, of the same shape.

        Returns:
            Flow a -> b, (N, 2, H, W) float32, without gradient.

        Raises:
            ValueError: The shapes disagree or are not (N, 3, H, W).
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
            raise ValueError(
                f"frames must both have the same shape (N, 3, H, W), found {tuple(a.shape)} and {tuple(b.shape)}"
            )
        height, width = a.shape[-2:]
        below, right = (max(_SMALLEST, -(-side // _MULTIPLE) * _MULTIPLE) - side for side in (height, width))
        padded = [F.pad(frames.float() * 2 - 1, (0, right, 0, below), mode="replicate") for frames in (a, b)]
        half = torch.autocast(a.device.type, torch.float16, enabled=self.half and a.device.type == "cuda")
        with self._turn, half:
            flows: list[Tensor] = self._network.to(a.device)(*padded, num_flow_updates=self.iterations)
        return flows[-1][..., :height, :width].float()


def _read_weights(weights: str | Path | None) -> tuple[str, Mapping[str, Tensor]]:
    """Name of the weights for a `repr`, and their state."""
    fetched = {str(entry): entry for enum in (Raft_Large_Weights, Raft_Small_Weights) for entry in enum}
    names = ", ".join(fetched)
    if weights is None:
        raise ConfigError(
            "RAFT has no weights",
            expected=f"a state file, or one of {names}",
            fix="torchvision fetches weights by these names; the authors' raft-things.pth is on "
            "https://github.com/princeton-vl/RAFT",
        )
    for name in (str(weights), f"{Raft_Large_Weights.__name__}.{weights}"):
        if name not in fetched:
            continue
        try:
            return f"weights={name!r}", fetched[name].get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                "the weights could not be fetched",
                path=fetched[name].url,
                found=str(error),
                fix="pass the path of a state file",
            ) from error
    path = Path(weights)
    if not path.is_file():
        raise CheckpointError("no such weights", path=path, expected=f"a state file, or one of {names}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"weights={path.name!r}, sha256={digest[:12]!r}", _read_state(path)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a parser fed with arbitrary bytes can fail in any way
        raise CheckpointError(
            "not a state file, or cut short", path=path, found=f"{path.stat().st_size} bytes", fix="fetch it again"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("holds no weights", path=path, expected="tensors by name", found=type(state).__name__)
    named = {}
    for name, value in state.items():
        if not _DUPLICATE.search(name):
            for pattern, replacement in _FROM_THE_AUTHORS:  # names of torchvision itself match none of them
                name = re.sub(pattern, replacement, name)
            named[name] = value
    return named


def _build(state: Mapping[str, Tensor], path: str) -> nn.Module:
    """The network that a state belongs to, large or small, in evaluation mode."""
    is_large = any(name.startswith("mask_predictor.") for name in state)
    with torch.device("meta"):  # initialising would draw from the random numbers of the caller
        network: nn.Module = raft_large(weights=None) if is_large else raft_small(weights=None)
    own = network.state_dict()
    wrong = own.keys() ^ state.keys()
    wrong |= {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    if wrong:
        raise CheckpointError(
            "no weights of RAFT",
            path=path,
            expected="the entries of torchvision's raft_large or raft_small, or of the authors' networks",
            found=f"{len(wrong)} that are missing, unknown or of another size, such as {min(wrong)}",
        )
    network.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return network.eval().requires_grad_(False)
