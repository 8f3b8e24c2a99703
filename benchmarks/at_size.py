"""Data of 100 000 frames and a million label rows.

The reference of the store is a parse of the same manifest by `json.loads` into a dictionary, the least that a store
without an index does; that of the workers is a plain list of the same samples. A worker's own memory is what it does
not share with its parent (`Private_Dirty`), after it has looked at every sample once.

Commands are run on 20 000 and on 100 000 frames of 16x32, of which every tenth has a manual label and every other one a
label of a store, and the time of the process for each frame is compared. The frames of a clip are links to one file.
The rows of both stores are found by an index; those of a store of 10 000 labels fit into memory, which is quicker.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measure import Item, Outcome, extra_memory, thread_seconds
from thriftseg.datamodules import Mixture, MixturePart, SemanticDataModule
from thriftseg.datamodules.base import start_worker
from thriftseg.datamodules.packed import Packed
from thriftseg.datasets import CLASS_FILE, Folder, check_dataset, encode_frame, encode_label_png
from thriftseg.labels import label_propagate, least_confident
from thriftseg.reports.evaluate import evaluate
from thriftseg.stores import LabelStore
from thriftseg.stores.manifest import canonical
from thriftseg.stores.rows import LabelRow
from thriftseg.taxonomies import CAMVID
from thriftseg.types import Clip, LabelKind, TrainingSample

ROWS = 1_000_000
FRAMES = 1000  # of each clip
SAMPLES = 100_000
LOOK_UPS = 1000


def write_manifest(root: Path) -> Path:
    """A manifest of propagated labels, 0.5 GB."""
    path = root / "flow" / "manifest.jsonl"
    path.parent.mkdir()
    row = LabelRow(
        video="",
        frame=0,
        kind="propagated",
        source="flow",
        generator="propagate/flow",
        arguments={"offsets": [-10, 10], "estimator": "DIS(preset='medium')", "software": "opencv 4.10", "alpha": 0.01},
        space="train_id",
        taxonomy=CAMVID.name,
        taxonomy_version=CAMVID.version,
        parents=("manual:camvid/drive0000/000010",),
        ignored_share=0.125,
        confidence=0.75,
        sha256="",
    ).to_json()
    with path.open("w") as stream:
        for number in range(ROWS):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            own = {"video": f"drive{number // FRAMES:04d}", "frame": number % FRAMES, "sha256": digest}
            stream.write(canonical(row | own) + "\n")
    return path


def open_store() -> Outcome:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        path = write_manifest(root)

        def parsed() -> dict[tuple[str, int], dict[str, object]]:
            with path.open() as stream:
                return {(row["video"], row["frame"]): row for row in map(json.loads, stream)}

        def opened() -> LabelStore:
            store = LabelStore(root, "flow", CAMVID)
            if len(store.labels) != ROWS:
                raise AssertionError(f"{len(store.labels)} rows")
            return store

        indexing = thread_seconds(opened)
        fast, memory = statistics.median(thread_seconds(opened) for _ in range(5)), extra_memory(opened)
        slow, parsed_memory = thread_seconds(parsed), extra_memory(parsed, attempts=1, calls=1)
        store = opened()
        frames = [(f"drive{number % (ROWS // FRAMES):04d}", number % FRAMES) for number in range(LOOK_UPS)]
        looking = thread_seconds(lambda: [store.labels[frame] for frame in frames]) / LOOK_UPS
        detail = (
            f"parsing {slow:.1f} s, +{parsed_memory:.0f} MiB; opening {fast * 1e3:.1f} ms, +{memory:.1f} MiB, for the "
            f"first time {indexing:.1f} s; a look-up {looking * 1e6:.0f} us"
        )
        return Outcome(slow / fast, detail, parsed_memory / max(memory, 0.1))


def worker_memory() -> Outcome:
    clips = [
        Clip(f"drive{k:04d}", {n: Path(f"/data/drive{k:04d}/{n:06d}.png") for n in range(FRAMES)})
        for k in range(SAMPLES // FRAMES)
    ]
    samples = [
        TrainingSample(clip, number, 0, "flow", LabelKind.PROPAGATED, Path(f"/labels/{clip.video}/{number:06d}.png"))
        for clip in clips
        for number in clip.frames
    ]
    packed, context = Packed(samples), multiprocessing.get_context("fork")
    grown = []
    for each in (samples, packed):
        gc.collect()
        answers = context.SimpleQueue()
        child = context.Process(target=_own_memory, args=(each, answers))
        child.start()
        grown.append(answers.get())
        child.join()
    detail = f"{SAMPLES} samples: list +{grown[0]:.1f} MiB, packed +{grown[1]:.1f} MiB in each worker"
    return Outcome(grown[0] / max(grown[1], 0.1), detail)


def _own_memory(samples: Sequence[TrainingSample], answers: Any) -> None:
    start_worker(0)
    before = _private()
    for number in range(len(samples)):
        sample = samples[number]
        _ = sample.clip.frames[sample.number], sample.label
    answers.put(_private() - before)


def _private() -> float:
    """Memory of this process that it shares with no other, in MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


CLIP, EVERY = 100, 10  # frames of a clip, and of those one in so many has a manual label
SIZES = 20_000, 100_000
SECONDS_TO_START = 5.0
OFFSETS = list(range(1, EVERY))


class ManyFrames:
    """Small frames, manual labels, predictions of these and a store of propagated labels.

    Args:
        frames: Number of frames.
    """

    def __init__(self, frames: int) -> None:
        self.folder = TemporaryDirectory()
        root = Path(self.folder.name)
        self.root, self.store, self.predictions = root / "data", root / "labels", root / "predictions"
        self.root.mkdir()
        colours = "\n".join(f"  - {{name: class{k}, color: [{k}, {k}, {k}]}}" for k in range(3))
        (self.root / CLASS_FILE).write_text(f"classes:\n{colours}\n")
        rng = np.random.default_rng(0)
        frame = encode_frame(rng.integers(0, 255, (16, 32, 3), dtype=np.uint8), ".png")
        maps = np.repeat(rng.integers(0, 3, (2, 16, 4), dtype=np.uint8), 8, axis=2)
        truth, other = (encode_label_png(each, bytes(9)) for each in maps)
        numbers = range(CLIP)
        clips = {f"clip{k:05d}": "train" if k % 10 else "val" for k in range(frames // CLIP)}
        for clip, split in [*clips.items(), ("sample", "test")]:
            links(self.root / split / clip / "frames", frame, numbers)
            links(self.root / split / clip / "labels", truth, numbers[::EVERY])
            links(self.predictions / split / clip, other, numbers[::EVERY])
        label_propagate(self.data(), "test", OFFSETS, store=self.store, source="flow", progress=False)
        made = self.store / "flow"
        for path in made.glob("*.jsonl"):
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(sorted(line.replace("sample", clip) for clip in clips for line in lines)))
        for clip in clips:
            (made / clip).mkdir()
            for label in (made / "sample").iterdir():
                (made / clip / label.name).hardlink_to(label)

    def data(self) -> Folder:
        """A reader that has listed nothing yet."""
        return Folder(self.root)

    def mixture(self) -> Mixture:
        """All labels."""
        return Mixture(parts=[MixturePart(), MixturePart("flow", OFFSETS)], store=self.store)


many_frames = cache(ManyFrames)


def links(folder: Path, content: bytes, numbers: Sequence[int]) -> None:
    """A file, and links to it under other numbers."""
    folder.mkdir(parents=True)
    first = folder / f"{numbers[0]:06d}.png"
    first.write_bytes(content)
    for number in numbers[1:]:
        (folder / f"{number:06d}.png").hardlink_to(first)


def check(many: ManyFrames) -> None:
    report = check_dataset(many.data(), devices=1)
    if report.faults:
        raise AssertionError(report.faults[0])


def draw(many: ManyFrames) -> None:
    str(many.mixture().draw(many.data(), "train"))


def resume(many: ManyFrames) -> None:
    again = label_propagate(many.data(), "train", OFFSETS, store=many.store, source="flow", progress=False)
    if again.written:
        raise AssertionError(f"{again.written} labels were made again")


def review(many: ManyFrames) -> None:
    least_confident(many.data(), "train", "flow", store=many.store, progress=False)


def score(many: ManyFrames) -> None:
    evaluate(many.predictions / "train", many.root, "folder", ["miou"], split="train", devices=1, progress=False)


def first_batch(many: ManyFrames) -> None:
    data = SemanticDataModule(many.data(), many.mixture(), crop=(16, 32), batch_size=8, num_workers=0)
    data.setup("fit")
    next(iter(data.train_dataloader()))


def seconds(step: Callable[[ManyFrames], None], many: ManyFrames) -> float:
    """Least time of this process, of all threads, of three runs after one that fills caches."""
    taken = []
    for _ in range(4):
        start = time.process_time()
        with redirect_stdout(StringIO()):
            step(many)
        taken.append(time.process_time() - start)
    return min(taken[1:])


def growth(step: Callable[[ManyFrames], None]) -> Outcome:
    """Time for each frame at the larger size over that at the smaller one."""
    times = [seconds(step, many_frames(frames)) for frames in SIZES]
    detail = " and ".join(f"{taken:.2f} s at {frames} frames" for taken, frames in zip(times, SIZES, strict=True))
    return Outcome(times[1] / SIZES[1] / (times[0] / SIZES[0]), detail)


def training_start() -> Outcome:
    taken = seconds(first_batch, many_frames(SIZES[1]))
    return Outcome(taken / SECONDS_TO_START, f"{taken:.2f} s until the first batch of {SIZES[1]} frames")


ITEMS = [
    *(
        Item(
            f"growth_{step.__name__}",
            f"time of {what}, for each frame: {SIZES[1]} frames / {SIZES[0]}",
            partial(growth, step),
            at_most=1.2,
        )
        for step, what in (
            (check, "checking a data set"),
            (draw, "drawing a mixture of stored labels"),
            (resume, "propagating labels that are all there"),
            (review, "listing doubtful labels"),
            (score, "scoring predictions"),
            (first_batch, "listing training data until the first batch"),
        )
    ),
    Item("training_start", f"first batch of {SIZES[1]} frames / {SECONDS_TO_START:g} s", training_start, at_most=1),
    Item("store_open", "parsing 10^6 rows / opening their store", open_store, at_least=100, memory_at_least=50),
    Item("worker_memory", "memory that a worker takes of a list / of ours", worker_memory, at_least=10),
]
