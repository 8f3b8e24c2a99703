"""From frames without labels to a trained student, by hand, with the command, in a browser; and how fast that feels."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.fixtures import rasters
from tests.fixtures.annotation_page import read_label
from tests.fixtures.browser import CommandServer, Hand, write_frames
from thriftseg.arrays import BoolArray, UInt16Array
from thriftseg.cli.main import main
from thriftseg.datasets import Folder
from thriftseg.stores import AnnotationJournal, LabelStore
from thriftseg.synthetic import SceneConfig, render_clip

pytestmark = pytest.mark.slow

CLASSES = """\
name: street
classes:
  - {name: road, color: [128, 64, 128]}
  - {name: vehicle, color: [50, 90, 210], instances: true}
  - {name: person, color: [220, 60, 90], instances: true}
  - {name: building, color: [168, 128, 96]}
  - {name: vegetation, color: [107, 142, 35]}
  - {name: sky, color: [110, 170, 220]}
"""
HEIGHT, WIDTH = SIZE = (480, 848)
CLASS_OF = np.array([255, 1, 0, 2, 1, 1, 2, 2, 2, 5, 3, 4], np.uint8)
"""Classes of the objects of the first frame, in the order in which they are drawn."""

CORRECTION = [(440, 172), (500, 168)]
NOON = 1_790_000_000  # seconds since 1970
FIT = """
seed_everything: 0
trainer: {max_steps: 2, max_epochs: 2, logger: true, enable_progress_bar: false, accelerator: cpu}
model:
  class_path: thriftseg.lightning_modules.SemanticSegmentation
  init_args:
    network:
      class_path: thriftseg.zoo.PSPNet
      init_args: {backbone: resnet18, output_stride: 16, decoder_channels: 32}
data:
  class_path: thriftseg.datamodules.SemanticDataModule
  init_args:
    dataset: {class_path: thriftseg.datasets.Folder, init_args: {root: data}}
    mixture:
      class_path: thriftseg.datamodules.Mixture
      init_args: {parts: [{labels: drawn}], store: labels}
    crop: [64, 96]
    resize: [64, 96]
    val_split: train
    eval_labels: drawn
    batch_size: 2
    num_workers: 0
"""


@pytest.fixture(scope="module")
def rendered() -> list[Any]:
    return list(render_clip(SceneConfig(height=HEIGHT, width=WIDTH, num_frames=3, seed=5)))


@pytest.fixture
def film(tmp_path: Path, rendered: list[Any]) -> Folder:
    return write_frames(tmp_path / "data", [frame.image for frame in rendered], CLASSES)


def outlines(mask: BoolArray, smallest: int) -> Iterator[list[tuple[int, int]]]:
    """Corners of the larger areas of a mask, as a person would click them."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if cv2.contourArea(contour) >= smallest:
            yield [(int(x), int(y)) for x, y in cv2.approxPolyDP(contour, 2.5, True)[:, 0]]


@pytest.fixture
def server(film: Folder, tmp_path: Path) -> Iterator[CommandServer]:
    arguments = ["--dataset=folder", "--root=data", "--store=labels", "--person=Ann", "--method=flow"]
    server = CommandServer(tmp_path, arguments)
    server.start()
    yield server
    server.stop()


def journal(folder: Path) -> list[Any]:
    return [row for row in AnnotationJournal(folder / "labels" / "drawn").read() if row.tool != "open"]


def click_and_stroke(hand: Hand, server: CommandServer, rendered: list[Any], wanted: UInt16Array) -> None:
    """Three objects; the server is killed while the third is drawn."""
    hand.keys("2", "c")
    hand.click(425, 235)
    hand.proposed()
    for x, y in ((425, 285), (425, 196), (370, 225), (485, 230)):
        hand.click(x, y, button="right")
        hand.proposed()
    hand.picture("click")
    hand.keys("Enter")
    hand.sent()
    clicked = read_label_of(hand) == 1
    assert clicked[235, 425]
    wanted[clicked] = 1

    hand.keys("1", "d")
    road = [(420, 330), (560, 440), (330, 450), (420, 380)]
    hand.drag(road)
    wanted[rasters.stroke(road, 16, SIZE)] = 2
    hand.sent()
    server.kill()
    hand.keys("3")
    (person,) = outlines(rendered[0].instances == 12001, 1500)
    hand.outline(person)
    wanted[rasters.outline(person, SIZE)] = 3
    hand.page.wait_for_selector("text=The connection to the server is lost")
    hand.picture("connection_lost")
    server.start()
    hand.page.goto(server.url)
    hand.opened("0/0")
    hand.sent()
    assert np.array_equal(read_label_of(hand), wanted)


def box_and_outlines(hand: Hand, rendered: list[Any], wanted: UInt16Array) -> None:
    """The rest of the frame."""
    hand.keys("2", "n", "b")
    hand.drag([(0, 205), (262, 478)])
    hand.proposed()
    hand.picture("proposal")
    hand.keys("Enter", "u")
    hand.sent()
    boxed = read_label_of(hand) == 4
    wanted[boxed] = 4
    label, instances = rendered[0].label, rendered[0].instances
    things = [("2", "n", instances == 15001)] + [("3", "n", instances == number) for number in (11004, 11007, 11008)]
    areas = [("6", "p", label == 10), ("4", "p", label == 2), ("5", "p", np.isin(label, [8, 9]))]
    number = 5
    for key, then, mask in things + areas:
        hand.keys(key, then)
        for corners in outlines(mask, 1000):
            hand.outline(corners)
            wanted[rasters.outline(corners, SIZE) & (wanted == 0)] = number
        number += 1
    hand.keys("1", "f")
    hand.click(310, 360)
    wanted[rasters.area(wanted, 310, 360)] = 2
    hand.sent()
    assert np.array_equal(read_label_of(hand), wanted)


def propagate_and_accept(hand: Hand) -> None:
    hand.keys("t")
    assert (hand.page.input_value("#propagate-first"), hand.page.input_value("#propagate-last")) == ("1", "3")
    hand.picture("propagate")
    hand.page.click("text=Start")
    hand.keys("ArrowRight")
    hand.opened("0/1")
    hand.page.wait_for_selector("text=The labels are carried on", timeout=60_000)
    hand.keys("a")
    hand.opened("0/2")
    hand.page.wait_for_selector("#where:has-text('label of the machine')")
    hand.picture("machine")


def correct_by_the_clock(hand: Hand, url: str) -> float:
    """A stroke on the last frame, and the seconds that it took."""
    clock = hand.page.clock
    clock.install(time=NOON)
    hand.visit(url, "0/2")
    clock.pause_at(NOON + 60)
    hand.page.mouse.move(500, 300)
    hand.keys("5", "d")
    clock.run_for(7_000)
    hand.drag(CORRECTION)
    hand.sent()
    for seconds in (12, 300, 5):  # 300 is a pause
        clock.run_for(1000 * seconds)
        hand.page.mouse.move(500 + seconds, 300)
    hand.picture("review")
    hand.keys("Shift+Enter")
    hand.page.wait_for_selector("text=Stored: frame 3")
    assert not hand.errors
    return 7.0 + 12 + 5


def lock_and_look(hand: Hand) -> None:
    hand.keys("l")
    hand.page.wait_for_selector("#lock-text:text('Unlock')")
    hand.picture("locked")
    hand.keys("?")
    hand.picture("help")
    hand.keys("Escape")
    assert hand.page.get_attribute("#timeline", "aria-valuetext").endswith("locked")
    assert not hand.errors


def test_from_nothing_to_a_student(
    server: CommandServer,
    film: Folder,
    rendered: list[Any],
    new_hand: Callable[..., Hand],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand, wanted = new_hand(1440, 900), np.zeros(SIZE, np.uint16)
    hand.visit(server.url)
    hand.picture("empty")
    click_and_stroke(hand, server, rendered, wanted)
    box_and_outlines(hand, rendered, wanted)
    hand.keys("v")
    hand.picture("drawn")
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    drawn = LabelStore(tmp_path / "labels", "drawn", film.taxonomy)
    assert np.array_equal(drawn.read("street", 0), CLASS_OF[wanted])

    hand.keys("Home")
    hand.opened("0/0")
    propagate_and_accept(hand)
    hand.keys("Home")
    hand.opened("0/0")
    seconds = correct_by_the_clock(new_hand(1440, 900), server.url)
    lock_and_look(hand)

    drawn = LabelStore(tmp_path / "labels", "drawn", film.taxonomy)
    stroke = rasters.stroke(CORRECTION, 16, SIZE)
    carried = LabelStore(tmp_path / "labels", "flow", film.taxonomy)
    assert np.array_equal(drawn.read("street", 2), np.where(stroke, 4, carried.read("street", 2)))
    assert sorted(carried.labels) == [("street", 1), ("street", 2)]
    cost = drawn.actions[drawn.labels["street", 2].parents[-1]].cost
    assert cost.seconds == pytest.approx(seconds, rel=0.03)
    rows = journal(tmp_path)
    tools = [row.tool for row in rows if row.tool != "polygon"]
    assert tools == ["click", "brush", "box", "fill", "finish", "finish", "brush", "finish", "finish"]
    assert sum(row.seconds for row in rows) < 60 + seconds

    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.yaml").write_text(FIT)
    assert main(["fit", "--config", "fit.yaml", "--name", "student"]) == 0
    assert (tmp_path / "runs/student/checkpoints/last.ckpt").is_file()


def read_label_of(hand: Hand) -> UInt16Array:
    """What the server takes the present frame to look like."""
    path = hand.page.evaluate("() => `${location.origin}/api/frames/${location.hash.slice(1)}/label`")
    return read_label(hand.page.request.get(path).body())[1]


FRAME_TIMES = """(seconds) => new Promise((resolve) => {
  const times = [];
  let last = performance.now();
  const tick = (now) => {
    times.push(now - last);
    last = now;
    if (times.reduce((a, b) => a + b) < 1000 * seconds) requestAnimationFrame(tick); else resolve(times.slice(1));
  };
  requestAnimationFrame(tick);
})"""


def test_how_fast_it_feels(new_hand: Callable[..., Hand], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what a person waits for; other things run beside it, so nothing of it is asserted."""
    noise = np.random.default_rng(0).integers(0, 90, (128, 256, 3), np.uint8)
    large = cv2.resize(noise, (2048, 1024))
    small = cv2.resize(noise, (854, 480))
    cv2.circle(small, (427, 240), 96, (40, 180, 200), cv2.FILLED)
    write_frames(tmp_path / "data", [small] * 3, CLASSES, "a_small")
    write_frames(tmp_path / "data", [large] * 4, CLASSES, "b_large")
    long = tmp_path / "data" / "train" / "c_long" / "frames"
    long.mkdir(parents=True)
    assert cv2.imwrite(str(long / "000000.jpg"), small)
    for number in range(1, 10_000):
        (long / f"{number:06d}.jpg").hardlink_to(long / "000000.jpg")
    server = CommandServer(tmp_path, ["--dataset=folder", "--root=data", "--store=labels"])
    server.start()
    try:
        found = measure(new_hand(1440, 900), server.url)
    finally:
        server.stop()
    with capsys.disabled():
        print()
        for what, value in found.items():
            print(f"  {what}: {value:.1f} ms")
    assert set(found) == {"first mask", "brush frame", "brush work a move", "next frame", "10 000 frames"}


def measure(hand: Hand, url: str) -> dict[str, float]:
    page = hand.page
    found = {}
    hand.visit(url, "0/0")
    hand.keys("2", "c")
    now = "() => performance.now()"
    answered = """() => new Promise((resolve) => {
      const wait = () => document.querySelector('#question button:not([disabled])[data-command="accept"]')
        ? resolve(performance.now()) : requestAnimationFrame(wait);
      wait();
    })"""
    position = hand.at(427, 240)
    start = page.evaluate(now)
    page.mouse.click(*position)
    found["first mask"] = page.evaluate(answered) - start
    hand.keys("Enter")
    hand.sent()

    page.goto("about:blank")
    hand.visit(url, "1/0")
    hand.keys("1", "d", *["]"] * 8)
    points = [hand.at(200 + 16 * step, 500 + 300 * np.sin(step / 9)) for step in range(100)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.evaluate(f"() => {{ window.frames_seen = ({FRAME_TIMES})(1.2); }}")
    page.evaluate(
        """() => {
          window.worked = [];
          const stage = document.getElementById("stage");
          addEventListener("pointermove", () => { window.began = performance.now(); }, {capture: true});
          stage.addEventListener("pointermove", () => window.worked.push(performance.now() - window.began));
        }"""
    )
    for point in points:
        page.mouse.move(*point)
    found["brush frame"] = statistics.median(page.evaluate("() => window.frames_seen"))
    found["brush work a move"] = statistics.median(page.evaluate("() => window.worked"))
    page.mouse.up()
    hand.sent()

    times = []
    page.wait_for_timeout(800)  # the next frames are fetched
    for place in (1, 2, 3):
        shown = f"""() => new Promise((resolve) => {{
          const begin = performance.now();
          document.body.dispatchEvent(new KeyboardEvent("keydown", {{key: "ArrowRight", bubbles: true}}));
          const wait = () => location.hash === "#1/{place}" ? resolve(performance.now() - begin) : setTimeout(wait, 1);
          wait();
        }})"""
        times.append(page.evaluate(shown))
        hand.opened(f"1/{place}")
        page.wait_for_timeout(500)
    found["next frame"] = statistics.median(times)

    page.select_option("#video", "2")
    start = page.evaluate(now)
    hand.opened("2/0")
    found["10 000 frames"] = page.evaluate(now) - start
    return found
