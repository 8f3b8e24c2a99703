"""What the annotation page adds to the work that has to be done for it: masks, labels, lists of frames, actions.

Time is that of the processor, of all threads, the client of the tests among them. The details name wall time where
people wait for it.
"""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from starlette.testclient import TestClient

from benchmarks.measure import Item, Outcome, one_thread
from thriftseg.annotation.page.dataset_work import DatasetWork
from thriftseg.annotation.page.proposals import MaskProposals
from thriftseg.annotation.page.server import page_app
from thriftseg.annotation.page.service import PageService
from thriftseg.datasets import Folder, read_frame
from thriftseg.labels import GrabCutPrompter
from thriftseg.stores import LabelRow, LabelStore, Manifest
from thriftseg.types import LabelKind

FRAMES, ROUNDS = 10_000, 7
LARGE, SMALL = (1024, 2048), (480, 854)


def write_frames(root: Path, size: tuple[int, int], frames: int) -> Folder:
    """A clip of discs before noise; all frames are one file."""
    folder = root / "train" / "drive" / "frames"
    folder.mkdir(parents=True)
    (root / "classes.yaml").write_text("classes: [road, car, person]\n")
    height, width = size
    noise = cv2.resize(np.random.default_rng(0).integers(0, 90, (height // 8, width // 8, 3), np.uint8), size[::-1])
    cv2.circle(noise, (width // 2, height // 2), height // 5, (200, 180, 40), cv2.FILLED)
    first = folder / "000000.jpg"
    assert cv2.imwrite(str(first), noise)
    for number in range(1, frames):
        (folder / f"{number:06d}.jpg").hardlink_to(first)
    return Folder(root)


@contextmanager
def served(reader: Folder, labels: Path) -> Iterator[TestClient]:
    """A client of a page in this process."""
    prompter = GrabCutPrompter()
    service = PageService(DatasetWork(reader, ["train"], labels, "drawn", "flow", prompter), MaskProposals(prompter))
    app = page_app(service, "token", "127.0.0.1", 8765)
    with (
        one_thread(),
        TestClient(app, base_url="http://127.0.0.1:8765", headers={"Authorization": "Bearer token"}) as client,
    ):
        yield client


def compared(ours: Callable[[], object], reference: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, str]:
    """Cost of ours over that of the reference, and both in words."""
    times: list[list[float]] = [[], [], []]
    for round_ in range(rounds + 1):
        for number, function in enumerate((ours, reference)):
            wall, start = time.perf_counter(), time.process_time()
            function()
            if round_:
                times[number].append(time.process_time() - start)
                times[2] += [time.perf_counter() - wall] if number == 0 else []
    mine, other, waited = map(statistics.median, times)
    return mine / other, f"ours {mine * 1e3:.1f} ms ({waited * 1e3:.1f} ms to wait); reference {other * 1e3:.1f} ms"


def first_mask() -> Outcome:
    """A click on a frame that nobody has looked at."""
    with TemporaryDirectory() as folder:
        reader = write_frames(Path(folder) / "data", SMALL, ROUNDS + 1)
        frames, numbers = list(reader.clips("train")[0].frames.values()), count()
        point = [SMALL[1] // 2, SMALL[0] // 2]
        with served(reader, Path(folder)) as client:

            def ours() -> None:
                body = {"session": "s", "video": 0, "place": next(numbers), "points": [[*point, True]]}
                answer = client.post("/api/prompt", json=body)
                assert answer.status_code == 200, answer.text

            def reference() -> None:
                embedded = GrabCutPrompter().embed(read_frame(frames[0]))
                embedded.correct(None, np.array([point], np.float32), np.array([True]), 1)

            return Outcome(*compared(ours, reference))


def next_frame() -> Outcome:
    """Image and label of a frame, against reading both files and packing the label."""
    with TemporaryDirectory() as folder:
        reader = write_frames(Path(folder) / "data", LARGE, 1)
        (path,) = reader.clips("train")[0].frames.values()
        store = LabelStore(folder, "flow", reader.taxonomy)
        label = np.random.default_rng(1).integers(0, 3, (32, 64), np.uint8)
        label = cv2.resize(label, LARGE[::-1], interpolation=cv2.INTER_NEAREST)
        store.write("drive", 0, label, kind=LabelKind.PROPAGATED, generator="demo")
        with served(reader, Path(folder)) as client:

            def ours() -> None:
                for what in ("image", "label"):
                    assert client.get(f"/api/frames/0/0/{what}").status_code == 200

            def reference() -> None:
                path.read_bytes()
                zlib.compress(store.read("drive", 0, verify=True).astype(np.uint16).tobytes(), 1)

            return Outcome(*compared(ours, reference))


def opening() -> Outcome:
    """A video of 10 000 frames with machine labels, against listing its frames and reading the rows of its labels."""
    with TemporaryDirectory() as folder:
        root, labels = Path(folder) / "data", Path(folder) / "labels"
        taxonomy = write_frames(root, (48, 64), FRAMES).taxonomy
        rows = (
            LabelRow(
                *("drive", number, "propagated", "flow", "propagate/flow", {"object_unit": "class"}, "train_id"),
                *(taxonomy.name, taxonomy.version, ("drawn:folder/drive/000000",), 0.25, 0.5, "0" * 64),
            )
            for number in range(FRAMES)
        )
        Manifest(labels / "flow").append(row.to_json() for row in rows)

        def ours() -> None:
            with served(Folder(root), labels) as client:
                assert client.get("/api/work").json()["videos"][0]["frames"] == FRAMES
                assert client.get("/api/videos/0").json()["states"] == "m" * FRAMES

        def reference() -> None:
            reader = Folder(root)
            assert len(reader.clips("train")[0].frames) == FRAMES
            assert len(LabelStore(labels, "flow", reader.taxonomy).labels) == FRAMES

        return Outcome(*compared(ours, reference, 3))


def stroke() -> Outcome:
    """A stroke of the brush, checked, drawn and noted, against the time until the next one at 60 a second."""
    with TemporaryDirectory() as folder:
        reader, numbers = write_frames(Path(folder) / "data", LARGE, 1), count()
        session = {"session": "s", "person": "Ann"}
        patch = {"x": 300, "y": 200, "width": 200, "height": 200, "runs": [-1, 50, 1, 100, -1, 50] * 200}
        with served(reader, Path(folder)) as client:
            assert client.post("/api/frames/0/0/open", json=session).status_code == 200

            def ours() -> None:
                action = {"id": f"a{next(numbers)}", "tool": "brush", "start": 1, "end": 2, "objects": [[1, 1]]}
                body = {**session, "actions": [{**action, "patch": patch}]}
                answer = client.post("/api/frames/0/0/actions", json=body)
                assert answer.status_code == 200, answer.text

            def reference() -> None:
                end = time.process_time() + 1 / 60
                while time.process_time() < end:
                    pass

            return Outcome(*compared(ours, reference, 30))


ITEMS = [
    Item("page_first_mask", "first mask at 480p over HTTP / GrabCut called directly", first_mask, at_most=1.5),
    Item(
        "page_next_frame",
        "image and label at 1024x2048 over HTTP / the files read and packed",
        next_frame,
        at_most=4,
    ),
    Item("page_opening", "opening 10 000 frames with labels / listing them and reading their rows", opening, at_most=2),
    Item("page_stroke", "a stroke at 1024x2048 until it is on disk / a sixtieth of a second", stroke, at_most=1),
]
