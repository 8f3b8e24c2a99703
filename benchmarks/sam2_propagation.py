"""SAM 2 through the propagator against its video predictor driven by hand, files to merged object ids.

Both read the same files and merge all logits to one map of ids. The model is the true hiera-tiny of 2.1 at an image
size of 256 with random weights, which do not change the cost. Driving by hand is the loop of the authors' example:
`init_state`, `add_new_mask` per object, `propagate_in_video`, then the largest logit above 0. Objects are bands of the
frame.
"""

from __future__ import annotations

import os
import statistics
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from sam2.build_sam import build_sam2_video_predictor

from benchmarks.measure import Item, Outcome, one_thread, thread_seconds
from thriftseg.labels.propagation.propagators.sam2 import SAM2Propagator
from thriftseg.labels.sam2_models import size_overrides
from thriftseg.stores.object_map import ObjectMap, TrackedObject
from thriftseg.synthetic import SceneConfig, render_clip

MODEL, CONFIG, IMAGE_SIZE = "sam2.1_hiera_tiny", "configs/sam2.1/sam2.1_hiera_t.yaml", 256
HEIGHT, WIDTH, FRAMES, OBJECTS, ROUNDS = 480, 854, 6, 5, 3


def objects() -> ObjectMap:
    ids = np.repeat(np.arange(HEIGHT, dtype=np.uint16) * OBJECTS // HEIGHT + 1, WIDTH).reshape(HEIGHT, WIDTH)
    return ObjectMap(ids, tuple(TrackedObject(number, number) for number in range(1, OBJECTS + 1)))


def write_clip(folder: Path) -> list[Path]:
    scene = SceneConfig(height=HEIGHT, width=WIDTH, num_frames=FRAMES, seed=0)
    paths = [folder / f"{number}.jpg" for number in range(FRAMES)]
    for path, frame in zip(paths, render_clip(scene), strict=True):
        Image.fromarray(frame.image).save(path, quality=95)
    return paths


def by_hand(predictor: torch.nn.Module, folder: Path, prompts: ObjectMap) -> list[np.ndarray]:
    state = predictor.init_state(str(folder))
    for item in prompts.objects:
        predictor.add_new_mask(state, 0, item.id, prompts.ids == item.id)
    maps = []
    for _, ids, logits in predictor.propagate_in_video(state):
        best, places = logits[:, 0].max(dim=0)
        owners = torch.tensor(ids, dtype=torch.int32)[places]
        maps.append(torch.where(best > 0, owners, 0).numpy().astype(np.uint16))
    return maps[1:]


def ours(propagator: SAM2Propagator, paths: list[Path], prompts: ObjectMap) -> list[np.ndarray]:
    frames = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    return [step.decide().ids for step in propagator.probabilities(prompts, frames)]


def propagation() -> Outcome:
    """Time by hand over time of ours; checks that the maps are equal."""
    prompts = objects()
    with one_thread(), TemporaryDirectory() as folder, Path(os.devnull).open("w") as bars, redirect_stderr(bars):
        paths, weights = write_clip(Path(folder)), Path(folder) / f"{MODEL}.pt"
        predictor = build_sam2_video_predictor(
            CONFIG, device="cpu", apply_postprocessing=False, hydra_overrides_extra=size_overrides(IMAGE_SIZE)
        )
        predictor.sam_mask_decoder.pred_obj_score_head.layers[2].bias.data += 2  # all objects count as visible
        torch.save({"model": predictor.state_dict()}, weights)
        propagator = SAM2Propagator(weights, image_size=IMAGE_SIZE, device="cpu")
        reference, found = by_hand(predictor, Path(folder), prompts), ours(propagator, paths, prompts)
        np.testing.assert_array_equal(found, reference)
        assert len(np.unique(reference)) > 2
        pairs = [
            (
                thread_seconds(lambda: by_hand(predictor, Path(folder), prompts)),
                thread_seconds(lambda: ours(propagator, paths, prompts)),
            )
            for _ in range(ROUNDS)
        ]
    ratio = statistics.median(slow / fast for slow, fast in pairs)
    seconds = [statistics.median(times) / (FRAMES - 1) for times in zip(*pairs, strict=True)]
    return Outcome(ratio, f"per frame with {OBJECTS} objects: by hand {seconds[0]:.3f} s, ours {seconds[1]:.3f} s")


ITEMS = [
    Item(
        "sam2_propagation",
        "speed of SAM 2 (hiera-tiny, image size 256), 480x854, 5 objects, merged / its predictor driven by hand",
        propagation,
        0.95,
    )
]
