"""The two parts of EVA-VOS that run in every round beside the propagation: QNet, and the simulated annotation.

QNet: frame by frame means that every frame is read, resized and scored alone in every round, as a plain loop does it.
Ours scores all masks of a video at once, and reads and embeds its frames in the first round only.

An annotation: the median time of what `ObjectProgress.attempt` does about one frame of 480x854 by clicks, without the
prompter, whose calls are timed and left out: reading frame and truth, three clicks, the choice among masks after each,
copying the mask (there is nothing to propagate to), J and F, packing. The figure is a share of the 60 ms that it may
take. The largest component of an error is what most of it is made of, so `cv2.connectedComponentsWithStats` of a whole
map of errors is timed beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from benchmarks.measure import Item, Outcome, extra_memory, medians, one_thread, thread_seconds
from benchmarks.video_objects import HEIGHT, WIDTH, blob
from thriftseg.annotation.eva_vos.frame_choice import QNetFrames
from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.eva_vos.progress import ObjectProgress
from thriftseg.annotation.eva_vos.propagation import create_mask_propagator
from thriftseg.annotation.people.mask_clicker import ClickPerson
from thriftseg.arrays import BoolArray, Float32Array
from thriftseg.datasets import MOSE
from thriftseg.datasets.images import resize_frame, resize_label, write_label_png
from thriftseg.labels.refining.prompters.grabcut import GrabCutEmbedded, GrabCutPrompter
from thriftseg.labels.refining.prompters.protocol import Candidates, NumCandidates
from thriftseg.stores.annotation_rounds import MASK_SIZE
from thriftseg.zoo import QNet

NEAREST = create_mask_propagator("nearest")

FRAMES, ANNOTATIONS = 100, 9
LIMIT = 0.060
"""Seconds that an annotation may take beside its prompter."""


def write_video(root: Path, frames: int) -> ObjectVideo:
    """A ragged blob that moves over noise, in the layout of MOSE."""
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(0, 120, (HEIGHT // 8, WIDTH // 8, 3), np.uint8), (WIDTH, HEIGHT))
    for number in range(frames):
        truth = blob(240, 300 + number, 110, 90, rng)
        image = noise.copy()
        image[truth] += 100
        path = root / "train" / "JPEGImages" / "clip" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        write_label_png(root / "train" / "Annotations" / "clip" / f"{number:05d}.png", truth.astype(np.uint8))
    dataset = MOSE(root, held_out=0)
    return ObjectVideo(dataset, dataset.clips("train")[0], 1)


def shifted(mask: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(mask, pixels, axis=1)


def progress_of(video: ObjectVideo, person: ClickPerson, shift: int) -> ObjectProgress:
    """An object whose first frame was drawn, with masks that are some pixels off."""
    masks = np.stack([shifted(truth, shift) for truth in video.truths])
    return ObjectProgress(video, {}, {0: "mask"}, masks, 1, person, NEAREST)


def frame_by_frame(network: QNet, progress: ObjectProgress, places: Sequence[int]) -> np.ndarray:
    rows = []
    with torch.inference_mode():
        for place in places:
            frame = torch.from_numpy(resize_frame(progress.video.frame(place), MASK_SIZE)).permute(2, 0, 1)[None] / 255
            mask = torch.from_numpy(resize_label(progress.masks[place].view(np.uint8), MASK_SIZE))[None]
            rows.append(network.features(network.preprocessing(frame), mask).numpy())
    return np.concatenate(rows)


def qnet_scoring() -> Outcome:
    """A later round, and the first one, against every frame alone."""
    torch.manual_seed(0)
    network, person = QNet().eval(), ClickPerson(GrabCutPrompter())
    with TemporaryDirectory() as name, one_thread():
        video = write_video(Path(name), FRAMES)
        rounds = [progress_of(video, person, shift) for shift in (3, 6)]
        alone = partial(frame_by_frame, network, rounds[1])
        choice = QNetFrames(network)
        alone(range(2))
        first = thread_seconds(lambda: choice.embed(rounds[0]))
        np.testing.assert_allclose(choice.embed(rounds[1])[::33], alone(range(0, FRAMES, 33)), atol=1e-3)
        times = [(thread_seconds(partial(alone, range(FRAMES))), thread_seconds(partial(choice.embed, rounds[1])))]
        times.append((thread_seconds(partial(alone, range(FRAMES))), thread_seconds(partial(choice.embed, rounds[1]))))
        slow, later = (min(side) for side in zip(*times, strict=True))
        memory = [
            extra_memory(function, attempts=1, calls=1)
            for function in (partial(alone, range(4)), partial(choice.embed, rounds[1]))
        ]
    detail = (
        f"{FRAMES} frames one by one {slow:.2f} s, +{memory[0]:.0f} MiB; at once in the first round {first:.2f} s, in "
        f"later ones {later:.2f} s, +{memory[1]:.0f} MiB"
    )
    return Outcome(slow / later, detail, memory[0] / max(memory[1], 0.1))


class TimedGrabCut(GrabCutPrompter):
    """Adds up the time that it takes.

    Attributes:
        seconds: Time of all calls so far.
        calls: Their number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.calls = 0.0, 0

    def embed(self, frame: np.ndarray) -> TimedCut:
        """Keep a frame."""
        return TimedCut(frame, self)


class TimedCut(GrabCutEmbedded):
    """Tells its prompter what a call took."""

    def __init__(self, frame: np.ndarray, prompter: TimedGrabCut) -> None:
        super().__init__(frame, prompter)
        self._timed = prompter

    def correct(
        self, mask: BoolArray | None, points: Float32Array, positive: BoolArray, candidates: NumCandidates
    ) -> Candidates:
        """Answer, and add up the time."""
        answers: list[Candidates] = []
        self._timed.seconds += thread_seconds(
            lambda: answers.append(super(TimedCut, self).correct(mask, points, positive, candidates))
        )
        self._timed.calls += 1
        return answers[0]


def annotation_step() -> Outcome:
    """Median time of an annotation by clicks beside the prompter, as a share of the limit."""
    prompter = TimedGrabCut()
    person = ClickPerson(prompter)
    with TemporaryDirectory() as name, one_thread():
        video = write_video(Path(name), 1)
        beside, cutting = [], []
        for shift in range(4, 5 + ANNOTATIONS):
            progress = progress_of(video, person, shift)
            video.release()
            prompter.seconds, prompter.calls = 0.0, 0
            whole = thread_seconds(partial(progress.attempt, 0, "clicks"))
            beside.append(whole - prompter.seconds)
            cutting.append(prompter.seconds / prompter.calls)
        errors = (video.truth(0) & ~shifted(video.truth(0), 8)).view(np.uint8)
        (components,) = medians(15, lambda: cv2.connectedComponentsWithStats(errors, connectivity=8))
    step = statistics.median(beside[1:])
    detail = (
        f"{step * 1e3:.1f} ms of {LIMIT * 1e3:.0f} ms, slowest {max(beside[1:]) * 1e3:.1f} ms; one "
        f"cv2.connectedComponentsWithStats {components * 1e3:.2f} ms, one call of GrabCut "
        f"{statistics.median(cutting) * 1e3:.0f} ms"
    )
    return Outcome(step / LIMIT, detail)


ITEMS = [
    Item(
        "qnet_scoring",
        "QNet on all 100 frames of a video, after the first round / frame by frame",
        qnet_scoring,
        at_least=1.5,
    ),
    Item(
        "annotation_environment_step",
        "annotating a frame of 480x854 by clicks, without the prompter / 60 ms",
        annotation_step,
        at_most=1.0,
    ),
]
