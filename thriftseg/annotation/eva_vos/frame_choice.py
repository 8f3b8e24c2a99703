"""Which frame of a video to annotate next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.eva_vos.progress import ObjectProgress
from thriftseg.arrays import Float32Array, Float64Array
from thriftseg.datasets import resize_frame, resize_label
from thriftseg.errors import ConfigError
from thriftseg.stores import MASK_SIZE

if TYPE_CHECKING:
    from torch import Tensor

    from thriftseg.zoo import QNet

_AT_ONCE = 16
"""Frames that an encoder of timm sees at once."""


class FrameChoice(Protocol):
    """Chooses a frame.

    Attributes:
        needs_truth: Whether it looks at the truth, and so serves simulations only.

    Example:
        >>> choices: list[FrameChoice] = [create_frame_choice(name) for name in ("random", "oracle", "upper_bound")]
        >>> [choice.needs_truth for choice in choices]
        [False, True, True]
    """

    needs_truth: ClassVar[bool]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on, JSON values only."""

    def choose(self, progress: ObjectProgress) -> int:
        """The frame to annotate, one of `progress.candidates`, of which there is one at least."""


def least_known(features: Float32Array, progress: ObjectProgress) -> int:
    """The candidate that is farthest from all annotated frames; when all are annotated, the one longest ago.

    Args:
        features: (N, D) of all frames.
        progress: How far the annotation of the object has come.
    """
    oldest = progress.longest_ago
    return oldest if oldest is not None else farthest(features, progress.annotated, progress.candidates)


def farthest(features: Float32Array, references: Sequence[int], candidates: Sequence[int]) -> int:
    r"""The candidate i whose feature vector is farthest from the nearest reference: max_i min_j ||E_i - E_j||.

    Args:
        features: (N, D).
        references: Places of the references, one at least.
        candidates: Places of the candidates, increasing; of equally far ones the first is taken.

    Example:
        >>> farthest(np.array([[0.0], [1.0], [4.0], [6.0]], np.float32), references=[0, 3], candidates=[1, 2])
        2
    """
    chosen: Float64Array = features[list(candidates)].astype(np.float64)
    nearest = np.full(len(candidates), math.inf)
    for reference in features[list(references)].astype(np.float64):
        nearest = np.minimum(nearest, np.linalg.norm(chosen - reference, axis=1))
    return candidates[int(nearest.argmax())]


class QNetFrames:
    """The frame whose picture and mask are least like those of any annotated frame, to QNet [0], Eq. 1.

    The mask of an annotated frame is the annotated one. Masks change with every round and are embedded anew each time;
    frames are read and embedded once per video, and 2 KB are kept of each.

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.

    Args:
        network: The network, or where it is stored; see `thriftseg.inference.checkpoints.load_as`.
        device: Where it computes, as torch names it.
        batch_size: Frames or masks in a pass, so that a shorter video takes one; fewer need less memory.
        masks: Compare masks as well as pictures.

    Raises:
        ConfigError: The batch size is below 1, or there is no such network.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import ClickPerson, create_mask_propagator, list_objects
        >>> from thriftseg.labels import GrabCutPrompter
        >>> from thriftseg.zoo import QNet
        >>> methods = ClickPerson(GrabCutPrompter()), create_mask_propagator("nearest")
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     [video], _ = list_objects(datasets.DAVIS(root), "train")
        ...     progress = ObjectProgress(video, {0: video.truth(0)}, {0: "mask"}, video.truths, 1, *methods)
        ...     QNetFrames(QNet(backbone="tu-test_resnet")).choose(progress)  # of two frames, one is annotated
        1
    """

    needs_truth: ClassVar[bool] = False

    def __init__(
        self, network: QNet | str | Path, device: str = "cpu", batch_size: int = 128, masks: bool = True
    ) -> None:
        from thriftseg import zoo
        from thriftseg.inference import load_as

        if batch_size < 1:
            raise ConfigError("batch size of QNet", expected="1 or more", found=batch_size)
        loaded = load_as(network, zoo.QNet) if isinstance(network, (str, Path)) else network
        self._network, self._device, self._batch_size = loaded.eval().to(device), device, batch_size
        self._embeddings: dict[tuple[Path, ...], Tensor] = {}
        self._masks = masks

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on."""
        from thriftseg.zoo import weights_digest

        return {"frames": "qnet" if self._masks else "l2:qnet", "weights": weights_digest(self._network)}

    def choose(self, progress: ObjectProgress) -> int:
        """The frame to annotate; see `FrameChoice.choose`."""
        return least_known(self.embed(progress), progress)

    def embed(self, progress: ObjectProgress) -> Float32Array:
        """Embeddings of all frames with their masks, (N, 1024) float32 for ResNet-18; half as long without masks."""
        import torch

        key = progress.video.files
        with torch.inference_mode():
            if key not in self._embeddings:
                images = _passes(progress.video, self._batch_size, MASK_SIZE, self._device)
                embedded = [self._network.embed(self._network.preprocessing(each)) for each in images]
                self._embeddings[key] = torch.cat(embedded)
            if not self._masks:
                return np.asarray(self._embeddings[key].float().cpu().numpy(), np.float32)
            masks = np.stack([resize_label(mask, MASK_SIZE) for mask in progress.masks.view(np.uint8)])
            passes = zip(
                torch.split(self._embeddings[key], self._batch_size),
                torch.split(torch.from_numpy(masks), self._batch_size),
                strict=True,
            )
            parts = [self._network.features(frames, given.to(self._device)) for frames, given in passes]
            return np.asarray(torch.cat(parts).float().cpu().numpy(), np.float32)


class RandomFrames:
    """Any frame, all with the same probability."""

    needs_truth: ClassVar[bool] = False
    arguments: ClassVar[Mapping[str, Any]] = {"frames": "random"}

    def choose(self, progress: ObjectProgress) -> int:
        """The frame to annotate; see `FrameChoice.choose`."""
        return int(progress.random("frame").choice(progress.candidates))


class OracleFrames:
    """The frame with the worst J&F, of equal ones the first; frames without the object come last."""

    needs_truth: ClassVar[bool] = True
    arguments: ClassVar[Mapping[str, Any]] = {"frames": "oracle"}

    def choose(self, progress: ObjectProgress) -> int:
        """The frame to annotate; see `FrameChoice.choose`."""
        quality = np.nan_to_num(progress.scores.jf[progress.candidates], nan=math.inf)
        return progress.candidates[int(quality.argmin())]


class UpperBoundFrames:
    """The frame whose true mask adds most to the J&F of the video: tries them all, with a propagation for each.

    A round of N frames takes N propagations, so that long videos are only tried in part. It is an upper bound where all
    frames are.

    Args:
        cap: Frames to try at most, evenly spread over those that there are; `None` for all. The videos of the paper
            have 104 frames at most, so that the default tries all of theirs.

    Raises:
        ConfigError: The cap is below 1.
    """

    needs_truth: ClassVar[bool] = True

    def __init__(self, cap: int | None = 104) -> None:
        if cap is not None and cap < 1:
            raise ConfigError("cap of the frames to try", expected="1 or more", found=cap)
        self.cap = cap

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on."""
        return {"frames": "upper_bound", "cap": self.cap}

    def choose(self, progress: ObjectProgress) -> int:
        """The frame to annotate; see `FrameChoice.choose`."""
        tried = progress.candidates
        if self.cap is not None and len(tried) > self.cap:
            tried = [tried[index * len(tried) // self.cap] for index in range(self.cap)]
        return max(tried, key=lambda place: progress.attempt(place, "mask").mean_jf)


class FarthestFrames:
    """The frame whose picture is least like that of any annotated frame, to an encoder of timm; masks do not matter.

    Args:
        model: Name of the model, such as "vit_large_patch14_dinov2.lvd142m".
        pretrained: Fetch its weights; otherwise they are random.
        device: Where it computes, as torch names it.

    Raises:
        ConfigError: There is no such model.
        CheckpointError: The weights cannot be fetched.
    """

    needs_truth: ClassVar[bool] = False

    def __init__(self, model: str, pretrained: bool = True, device: str = "cpu") -> None:
        import timm

        from thriftseg.zoo import fetching_weights

        if not timm.is_model(model):
            raise ConfigError("no such encoder of frames", expected="l2:<name of a model of timm>", found=model)
        source = timm.get_pretrained_cfg(model)
        with fetching_weights(model, f"https://huggingface.co/{source.hf_hub_id if source else model}", pretrained):
            self._network: Any = timm.create_model(model, pretrained=pretrained, num_classes=0).eval().to(device)
        self._model, self._pretrained, self._device = model, pretrained, device
        self._features: dict[tuple[Path, ...], Float32Array] = {}

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on."""
        from thriftseg.zoo import weights_digest

        weights = weights_digest(self._network)
        return {"frames": f"l2:{self._model}", "pretrained": self._pretrained, "weights": weights}

    def choose(self, progress: ObjectProgress) -> int:
        """The frame to annotate; see `FrameChoice.choose`."""
        key = progress.video.files
        if key not in self._features:
            self._features[key] = self.embed(progress.video)
        return least_known(self._features[key], progress)

    def embed(self, video: ObjectVideo) -> Float32Array:
        """Pooled features of all frames, (N, D) float32."""
        import torch

        config = self._network.pretrained_cfg
        with torch.inference_mode():
            mean, std = (torch.tensor(config[name], device=self._device).view(3, 1, 1) for name in ("mean", "std"))
            passes = _passes(video, _AT_ONCE, config["input_size"][1:], self._device)
            parts = [self._network((images - mean) / std).float().cpu().numpy() for images in passes]
        return np.concatenate(parts)


FRAME_CHOICES = ("qnet", "random", "oracle", "upper_bound", "l2:qnet", "l2:<timm model>")
"""Names that `create_frame_choice` takes."""


def create_frame_choice(name: str, **settings: Any) -> FrameChoice:
    """Build a choice of frames by name.

    Args:
        name: "qnet", "random", "oracle", "upper_bound", or "l2:" and "qnet" or the name of a model of timm.
        settings: Arguments of its class.

    Raises:
        ConfigError: There is no such choice, or it does not take one of the arguments.

    Example:
        >>> create_frame_choice("upper_bound", cap=5).arguments
        {'frames': 'upper_bound', 'cap': 5}
    """
    method, _, model = name.partition(":")
    if name == "l2:qnet":
        method, model, settings = "qnet", "", settings | {"masks": False}
    makers: Mapping[str, Any] = {
        "qnet": QNetFrames,
        "random": RandomFrames,
        "oracle": OracleFrames,
        "upper_bound": UpperBoundFrames,
        "l2": FarthestFrames,
    }
    if method not in makers or bool(model) != (method == "l2"):
        raise ConfigError("no such choice of frames", expected=", ".join(FRAME_CHOICES), found=repr(name))
    try:
        chosen: FrameChoice = makers[method](*([model] if model else []), **settings)
    except TypeError as error:
        raise ConfigError(f"wrong settings of the choice of frames {name!r}", found=str(error)) from error
    return chosen


def _passes(video: ObjectVideo, batch_size: int, size: tuple[int, int], device: str) -> Iterator[Tensor]:
    """The frames of a video in order, B at most at once, as (B, 3, height, width) in [0, 1] on a device."""
    import torch

    places = range(len(video))
    for start in places[::batch_size]:
        frames = np.stack([resize_frame(video.frame(place), size) for place in places[start : start + batch_size]])
        yield torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float().div_(255)
