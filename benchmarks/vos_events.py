"""J of networks beside masks that are copied or warped, also after occlusions and of objects that enter late.

    python -m benchmarks.vos_events --root DIR --layout davis --split val --eval_resize 144 NAME=CHECKPOINT ...

J is averaged over the frames of an object, then over objects. A frame comes after an occlusion if it shows at least
half of the largest area that the object has shown so far, and an earlier one showed less than 40 % of that; an object
enters late if it is introduced after the first frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.datamodules.vos.streams import VideoStream
from thriftseg.datasets.registry import VOS_DATASETS
from thriftseg.inference.checkpoints import load_as
from thriftseg.lightning_modules.video_objects import enlarged
from thriftseg.synthetic.objects.baselines import jaccard, predict_baseline
from thriftseg.zoo import ObjectTracker, VOSNetwork

EVENTS = ("all frames", "after an occlusion", "entered late")
HIDDEN, BACK = 0.4, 0.5

Scores = dict[str, dict[str, list[float]]]
"""J of objects by method and event."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NAME=CHECKPOINT")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--layout", default="davis", choices=sorted(VOS_DATASETS))
    parser.add_argument("--split", default="val")
    parser.add_argument("--eval_resize", type=int)
    args = parser.parse_args(argv)
    networks = {name: load_as(path, VOSNetwork) for name, _, path in (item.partition("=") for item in args.networks)}
    scores: Scores = {}
    dataset = VOS_DATASETS[args.layout](args.root)
    for clip in dataset.clips(args.split):
        for method, event, j in score(
            VideoStream(dataset, clip), VideoStream(dataset, clip, args.eval_resize), networks
        ):
            scores.setdefault(method, {}).setdefault(event, []).append(j)
    print("| J | " + " | ".join(EVENTS) + " |\n|---|" + "---|" * len(EVENTS))
    for method, found in scores.items():
        cells = (
            f"{np.mean(found[event]):.3f} ({len(found[event])} objects)" if event in found else "" for event in EVENTS
        )
        print(f"| {method} | " + " | ".join(cells) + " |")


def score(
    stream: VideoStream, seen: VideoStream, networks: Mapping[str, VOSNetwork]
) -> Iterator[tuple[str, str, float]]:
    """Method, event and J of every object of a video.

    Args:
        stream: The video at the size of its files.
        seen: The same as networks see it.
        networks: Networks to try.
    """
    frames = list(stream)
    images = [np.ascontiguousarray(frame.image.numpy().transpose(1, 2, 0)) for frame in frames]
    first = {key: place for place, frame in enumerate(frames) for key in frame.ids}
    blank = np.zeros(stream.size, np.uint8)
    given = [frame.truth if frame.truth is not None else frame.given for frame in frames]
    truth = np.stack([ids.numpy().astype(np.uint8) if ids is not None else blank for ids in given])
    predictions = predict_baseline(images, truth, first) | {
        name: follow(seen, network) for name, network in networks.items()
    }
    for key, start in first.items():
        true = truth[start + 1 :] == key
        subsets = events(true, late=start > 0) if len(true) else {}
        for method, ids in predictions.items():
            j = jaccard(ids[start + 1 :] == key, true)
            for event, frames_of_event in subsets.items():
                if frames_of_event.any():
                    yield method, event, float(j[frames_of_event].mean())


def events(true: BoolArray, late: bool) -> dict[str, BoolArray]:
    """Which of the frames (T, H, W) of an object belong to an event, (T,) each."""
    areas = true.sum(axis=(1, 2))
    largest = np.maximum.accumulate(areas)
    hidden_before = np.logical_or.accumulate(areas < HIDDEN * largest)
    everywhere: BoolArray = np.ones(len(true), np.bool_)
    found = {EVENTS[0]: everywhere, EVENTS[1]: hidden_before & (areas >= BACK * largest) & (areas > 0)}
    return found | ({EVENTS[2]: everywhere} if late else {})


@torch.inference_mode()
def follow(stream: VideoStream, network: VOSNetwork) -> UInt8Array:
    """Ids (T, H, W) of a network at the size of the files."""
    tracker = ObjectTracker(network.eval())
    found = []
    for frame in stream:
        ids = tracker.step(frame.image.float().div(255), frame.given, frame.ids if frame.given is not None else None)
        found.append(enlarged(ids, stream.size).numpy().astype(np.uint8))
    return np.stack(found)


if __name__ == "__main__":
    main()
