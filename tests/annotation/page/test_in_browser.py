"""The page in a real browser, at the real server: masks bit by bit, seconds by a scripted clock, kills, two people."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import browser as browsers
from tests.fixtures import rasters
from tests.fixtures.annotation_page import CLASSES, read_label
from tests.fixtures.browser import DRAWN_ON, Hand, LocalServer
from tests.fixtures.square_and_disc import DISC, GROUND, HEIGHT, SQUARE, WIDTH

pytestmark = pytest.mark.skipif(browsers.missing() is not None, reason=str(browsers.missing()))

SIZE = (HEIGHT, WIDTH)
NOON = 1_790_000_000  # seconds since 1970


def test_masks_are_those_of_numpy_and_outlive_the_server(hand: Hand, server: LocalServer) -> None:
    wanted = np.zeros(SIZE, np.uint16)
    hand.keys("1", "d")
    assert hand.diameter == 16
    hand.drag([(5, 40), (30, 41), (60, 30)])
    wanted[rasters.stroke([(5, 40), (30, 41), (60, 30)], 16, SIZE)] = 1
    hand.keys("2")
    square = [(6, 8), (18, 8), (18, 20), (6, 20)]
    hand.outline(square)
    wanted[rasters.outline(square, SIZE)] = 2
    hand.keys("n")
    ragged = [(30, 2), (61, 9), (40, 24), (33, 12), (25, 30)]
    hand.outline(ragged)
    wanted[rasters.outline(ragged, SIZE)] = 3
    hand.keys("e", "[", "[")
    hand.page.wait_for_selector("text=10 px")
    hand.drag([(10, 36), (10, 44)])
    wanted[rasters.stroke([(10, 36), (10, 44)], 10, SIZE)] = 0
    hand.sent()
    assert np.array_equal(server.ids(), wanted)

    server.stop()
    hand.keys("3", "f")
    hand.click(2, 2)
    wanted[rasters.area(wanted, 2, 2)] = 4
    hand.page.wait_for_selector("text=The connection to the server is lost")
    assert hand.says("#unsent") == "1 action not sent yet"
    hand.picture("connection_lost")
    server.start()
    hand.sent()
    assert np.array_equal(server.ids(), wanted)

    hand.keys("i")
    for corner in [(0, 0), (8, 0), (0, 8)]:
        hand.click(corner[0] - 0.5 + 0.01, corner[1] - 0.5 + 0.01)
    hand.keys("Enter")
    wanted[rasters.outline([(0, 0), (8, 0), (0, 8)], SIZE)] = 0
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    classes = np.array([255, GROUND, SQUARE, SQUARE, DISC], np.uint8)
    assert np.array_equal(server.drawn.read("street", 0), classes[wanted])
    hand.page.wait_for_selector("#banner", state="hidden")


def test_undo_and_redo_give_the_state_before_and_after(hand: Hand, server: LocalServer) -> None:
    states = [server.ids()]
    hand.keys("2", "d")
    hand.drag([(10, 10), (20, 30)])
    hand.sent()
    states.append(server.ids())
    hand.keys("3")
    hand.drag([(15, 15), (40, 15)])
    hand.sent()
    states.append(server.ids())
    hand.keys("Shift+1")  # the disc becomes ground
    hand.keys("Delete")
    hand.sent()
    states.append(server.ids())
    assert [row.tool for row in server.actions()] == ["brush", "brush", "class", "delete"]
    for wanted, classes in ((2, {1: SQUARE, 2: GROUND}), (2, {1: SQUARE, 2: DISC}), (1, None), (0, None)):
        hand.keys("Control+z")
        hand.sent()
        header, ids = read_label(server.service.label((0, 0)))
        assert np.array_equal(ids, states[wanted])
        if classes:
            assert {row["id"]: row["class"] for row in header["objects"]} == classes
    for key, wanted in (("Control+y", 1), ("Control+Shift+z", 2), ("Control+y", 2), ("Control+y", 3)):
        hand.keys(key)
        hand.sent()
        assert np.array_equal(server.ids(), states[wanted])
    hand.keys("p")
    hand.click(10, 10)
    hand.click(20, 10)
    hand.keys("Control+z")  # takes back a corner, not what was stored
    hand.page.wait_for_selector("text=1 corners")
    hand.keys("Escape")
    hand.sent()
    assert np.array_equal(server.ids(), states[3])


def test_seconds_are_those_at_work(new_hand: Callable[[], Hand], server: LocalServer) -> None:
    hand = new_hand()
    clock = hand.page.clock
    clock.install(time=NOON)
    hand.visit(server.url)
    clock.pause_at(NOON + 60)
    hand.page.mouse.move(500, 300)
    hand.keys("2", "d")
    clock.run_for(7_000)
    hand.drag([(10, 10), (20, 30)])
    first = 7.0
    for seconds in (15, 19, 300, 4):  # 300 is a pause
        clock.run_for(1000 * seconds)
        hand.page.mouse.move(500 + seconds, 300)
    tell = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    tell += " document.dispatchEvent(new Event('visibilitychange')); }"
    clock.run_for(2_000)
    hand.page.evaluate(tell, True)
    clock.run_for(9_000)
    hand.page.evaluate(tell, False)
    clock.run_for(3_000)
    hand.drag([(40, 10), (50, 30)])
    second = 15 + 19 + 4 + 2 + 3
    hand.sent()
    clock.run_for(6_000)
    hand.keys("Shift+Enter")
    hand.sent()
    rows = server.actions()
    assert [row.tool for row in rows] == ["brush", "brush", "finish"]
    spent = [row.seconds for row in rows]
    assert spent[1:] == pytest.approx([second, 6], rel=0.03)
    assert spent[0] == pytest.approx(first, rel=0.03)
    assert rows[1].end - rows[1].start == pytest.approx(second + 300 + 9, rel=0.03)
    assert NOON + 60 < rows[0].end < NOON + 80
    (action,) = server.drawn.labels["street", 0].parents
    cost = server.drawn.actions[action].cost
    assert cost is not None
    assert cost.seconds == pytest.approx(first + second + 6, rel=0.03)
    assert (cost.strokes, cost.clicks) == (2, 0)
    assert not hand.errors


def test_clicks_are_answered_and_corrected(hand: Hand, server: LocalServer) -> None:
    hand.keys("2", "c")
    hand.click(11, 13)
    hand.proposed()
    hand.picture("proposal")
    hand.keys("Enter")
    hand.sent()
    found = server.ids() == 1
    square = np.zeros(SIZE, bool)
    square[8:20, 6:18] = True
    assert (found & square).sum() / (found | square).sum() > 0.9
    hand.keys("3", "b")
    hand.drag([(33, 21), (56, 43)])
    hand.proposed()
    hand.keys("Escape")
    hand.drag([(32, 20), (57, 44)])
    hand.proposed()
    hand.click(44, 32)
    hand.proposed()
    hand.page.click("text=Accept")
    hand.sent()
    rows = server.actions()
    assert [(row.tool, row.clicks) for row in rows] == [("click", 1), ("box", 3)]
    disc = np.hypot(*(np.mgrid[:HEIGHT, :WIDTH] - np.array([32, 44])[:, None, None])) <= 10
    found = server.ids() == 2
    assert (found & disc).sum() / (found | disc).sum() > 0.8


def test_a_frame_without_touching_the_mouse(hand: Hand, server: LocalServer) -> None:
    hand.keys("2", "d")
    hand.keys("Shift+ArrowLeft", "Control+ArrowUp")  # from the middle, pixel (32, 24)
    hand.page.keyboard.down("x")
    hand.keys("Control+ArrowRight", "Control+ArrowRight", "Shift+ArrowDown")
    hand.page.keyboard.up("x")
    hand.keys("p", "x", "Control+ArrowLeft", "x", "Control+ArrowDown", "x", "Enter")
    hand.sent()
    wanted = rasters.stroke([(31, 14), (41, 14), (51, 14), (51, 15)], 16, SIZE)
    wanted |= rasters.outline([(52, 16), (42, 16), (42, 26)], SIZE)
    assert np.array_equal(server.ids() > 0, wanted)
    hand.keys("?")
    assert hand.page.is_visible("#help")
    hand.picture("help")
    hand.keys("Escape")
    hand.page.wait_for_selector("#help", state="hidden")
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    assert server.service.video(0)["states"] == "d.."
    hand.keys("ArrowLeft")
    hand.opened("0/0")
    hand.keys("l")
    hand.page.wait_for_selector("#lock-text:text('Unlock')")
    assert server.service.video(0)["states"] == "l.."
    reached = set()
    for _ in range(40):
        hand.keys("Tab")
        reached.add(hand.page.evaluate("() => document.activeElement.dataset.command ?? document.activeElement.id"))
    assert {"tool:brush", "stage", "timeline", "person", "review:lock", "help", "safe"} <= reached
    named = """() => [...document.querySelectorAll("button, select, input")].filter(
        (each) => !(each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.length)).length"""
    assert hand.page.evaluate(named) == 0


def test_two_people_and_a_lease(hand: Hand, new_hand: Callable[[], Hand], server: LocalServer) -> None:
    other = new_hand()
    other.page.goto(server.url)
    other.page.wait_for_selector("text=Ann works on this frame")
    other.keys("2", "d")
    other.drag([(10, 10), (20, 10)])
    other.picture("leased")
    hand.keys("ArrowRight")
    hand.opened("0/1")
    other.opened("0/0")
    other.drag([(10, 30), (20, 30)])
    other.sent()
    assert np.array_equal(server.ids() > 0, rasters.stroke([(10, 30), (20, 30)], 16, SIZE)), "only the second stroke"
    hand.keys("ArrowLeft")
    hand.page.wait_for_selector("text=Ann works on this frame")
    other.page.close()
    hand.opened("0/0")
    hand.sent()
    assert not other.errors


def test_what_is_not_sent_outlives_the_browser(server: LocalServer, tmp_path: Path) -> None:
    from playwright.sync_api import Error, sync_playwright

    wanted = rasters.stroke([(10, 10), (40, 30)], 16, SIZE) | rasters.stroke([(50, 10), (50, 30)], 16, SIZE)
    profile = tmp_path / "profile"
    options = {"executable_path": browsers.CHROMIUM, "args": ["--no-sandbox"]}
    # The browser of the module runs in a loop of its own: this one needs a thread.
    outcome: list[Any] = []

    def work() -> None:
        with sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(str(profile), **options)
            hand = Hand(context.new_page())
            hand.visit(server.url)
            hand.keys("2", "d")
            hand.drag([(10, 10), (40, 30)])
            hand.sent()
            server.stop()
            hand.drag([(50, 10), (50, 30)])
            hand.page.wait_for_selector("text=1 action not sent yet")
            time.sleep(1)  # of the browser, to write its database
            outcome.append(browsers.kill_browsers(profile))
            try:
                context.close()
            except Error:
                pass
            server.start()
            context = playwright.chromium.launch_persistent_context(str(profile), **options)
            hand = Hand(context.new_page())
            hand.visit(server.url)
            hand.sent()
            outcome.append(server.ids() > 0)
            context.close()

    in_thread(work)
    killed, found = outcome
    assert killed >= 1
    assert np.array_equal(found, wanted)
    assert [row.strokes for row in server.actions()] == [1, 1]


def test_ghost_playing_and_colours(hand: Hand, server: LocalServer) -> None:
    page = hand.page
    hand.keys("2", "d")
    hand.drag([(10, 10), (40, 30)])
    drawn = int(rasters.stroke([(10, 10), (40, 30)], 16, SIZE).sum())
    assert page.evaluate(DRAWN_ON, "overlay") == drawn
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    assert page.evaluate(DRAWN_ON, "overlay") == 0
    hand.keys("g")
    page.wait_for_selector('button[data-command="ghost"][aria-pressed="true"]')
    page.wait_for_function(f"() => ({DRAWN_ON})('ghost') === {drawn}")
    hand.picture("ghost")
    hand.keys("Home")
    hand.opened("0/0")
    hand.keys("h")
    page.wait_for_function("() => document.getElementById('overlay').style.opacity === '0'")
    hand.keys("h", "+", "+", "Space")
    hand.opened("0/2")
    assert hand.says("#where") == "Frame 3 of 3 not labelled"
    before = page.evaluate("() => getComputedStyle(document.querySelector('.swatch')).backgroundColor")
    page.check("#safe")
    other = f"() => getComputedStyle(document.querySelector('.swatch')).backgroundColor !== '{before}'"
    page.wait_for_function(other)
    page.reload()
    hand.opened("0/2")
    assert page.is_checked("#safe")
    assert page.input_value("#opacity") == "85"
    page.wait_for_function(other)
    assert server.service.leases.of_others("") == {(0, 2): "Ann"}, "the reloaded page gave its first lease back"


@pytest.mark.slow
def test_the_page_goes_on_when_the_server_is_back(hand: Hand, server: LocalServer) -> None:
    hand.page.wait_for_timeout(300)  # the next frame is fetched
    server.stop()
    hand.keys("End")
    hand.page.wait_for_selector("text=The connection to the server is lost")
    server.start()
    hand.opened("0/2")
    hand.page.wait_for_selector("#banner", state="hidden")
    hand.keys("q")
    hand.opened("0/0")


@pytest.fixture
def turned(tmp_path: Path) -> Iterator[LocalServer]:
    """Frames whose EXIF data say that they are to be turned by 90 degrees."""
    folder = tmp_path / "data" / "train" / "street" / "frames"
    folder.mkdir(parents=True)
    image = Image.new("RGB", (WIDTH, HEIGHT), (20, 20, 20))
    image.paste((250, 250, 250), (0, 0, 16, 8))  # the corner at the top left of the file
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "000000.jpg", quality=95, exif=exif)
    (tmp_path / "data" / "classes.yaml").write_text(CLASSES)
    server = LocalServer(tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_frame_is_shown_as_its_file_has_the_pixels(turned: LocalServer, new_hand: Callable[[], Hand]) -> None:
    hand = new_hand()
    hand.visit(turned.url)
    shown = """() => {
      const image = document.getElementById("image"), context = image.getContext("2d");
      const red = (x, y) => context.getImageData(x, y, 1, 1).data[0];
      return [image.width, image.height, red(4, 4), red(60, 4), red(4, 44)];
    }"""
    width, height, *corners = hand.page.evaluate(shown)
    assert (width, height) == (WIDTH, HEIGHT)
    assert [value > 128 for value in corners] == [True, False, False]
    hand.keys("2", "d")
    hand.drag([(10, 10), (20, 10)])
    hand.sent()
    assert np.array_equal(turned.ids() > 0, rasters.stroke([(10, 10), (20, 10)], 16, SIZE))


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_is_lost(
    hand: Hand, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = server.service.work.journal

    def full(rows: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "journal.jsonl")

    with monkeypatch.context() as broken:
        broken.setattr(journal, "append", full)
        hand.keys("2", "d")
        hand.drag([(10, 10), (20, 30)])
        hand.page.wait_for_selector("text=the disk is full")
        hand.picture("disk_full")
        assert not server.ids().any()
    hand.sent()
    assert np.array_equal(server.ids() > 0, rasters.stroke([(10, 10), (20, 30)], 16, SIZE))
    hand.page.wait_for_selector("#banner", state="hidden")


def in_thread(work: Callable[[], None]) -> None:
    import threading

    faults: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
