"""Data of a million label rows: opening their store, and the memory of loader workers.

The reference of the store is a parse of the same manifest by `json.loads` into a dictionary, the least that a store
without an index does; that of the workers is a plain list of the same samples. A worker's own memory is what it does
not share with its parent (`Private_Dirty`), after it has looked at every sample once.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import Item, Outcome, extra_memory, thread_seconds
from thriftseg.datamodules.base import start_worker
from thriftseg.datamodules.packed import Packed
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


ITEMS = [
    Item("store_open", "parsing 10^6 rows / opening their store", open_store, at_least=100, memory_at_least=50),
    Item("worker_memory", "memory that a worker takes of a list / of ours", worker_memory, at_least=10),
]
