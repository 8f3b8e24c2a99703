"""More of what a hand does at the page in a real browser: locks objects, follows the ranking, uses pen and fingers."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from tests.fixtures import browser as browsers
from tests.fixtures import rasters
from tests.fixtures.browser import Hand, LocalServer
from tests.fixtures.square_and_disc import HEIGHT, WIDTH

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browsers.missing() is not None, reason=str(browsers.missing())),
]

SIZE = (HEIGHT, WIDTH)
POINTER = """([kind, pointer, type, x, y]) => document.getElementById("stage").dispatchEvent(new PointerEvent(kind, {
  pointerId: pointer, pointerType: type, clientX: x, clientY: y, button: kind === "pointermove" ? -1 : 0, buttons: 1,
  bubbles: true, cancelable: true, isPrimary: pointer === 1, pressure: 0.3,
}))"""


def test_a_locked_object_keeps_its_pixels(hand: Hand, server: LocalServer) -> None:
    first, second = [(10, 10), (20, 10)], [(15, 10), (40, 10)]
    hand.keys("2", "d")
    hand.drag(first)
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    hand.keys("ArrowLeft")
    hand.opened("0/0")
    hand.keys("2", "Shift+L")
    for _ in range(100):
        if server.service._header((0, 0))[0]["objects"][0]["locked"]:
            break
        hand.page.wait_for_timeout(50)
    hand.keys("3", "d")
    hand.drag(second)
    hand.sent()
    locked = rasters.stroke(first, 16, SIZE)
    assert np.array_equal(server.ids() == 1, locked)
    assert np.array_equal(server.ids() == 2, rasters.stroke(second, 16, SIZE) & ~locked)


def test_the_ranking_leads_from_frame_to_frame(hand: Hand, server: LocalServer) -> None:
    hand.page.select_option("#queue-choice", "next")
    hand.page.wait_for_selector("#queue-items button >> text=motion")
    items = server.service.work.queue("next")
    hand.keys("v")
    hand.page.click("#queue-items li:first-child button")
    hand.opened(f"0/{items[0][1]}")
    hand.keys("2", "d")
    hand.drag([(10, 10), (20, 10)])
    hand.keys("Shift+Enter")
    hand.opened(f"0/{items[1][1]}")
    assert server.service.video(0)["states"][items[0][1]] == "d"


def pointer(hand: Hand, kind: str, number: int, type: str, x: float, y: float) -> None:
    hand.page.evaluate(POINTER, [kind, number, type, *hand.at(x, y)])


def test_a_pen_draws_and_a_finger_moves_the_frame(hand: Hand, server: LocalServer) -> None:
    hand.page.evaluate("() => { Element.prototype.setPointerCapture = () => {}; }")  # events of no device
    hand.keys("2", "d")
    pointer(hand, "pointerdown", 1, "pen", 10, 10)
    pointer(hand, "pointermove", 1, "pen", 20, 30)
    pointer(hand, "pointerup", 1, "pen", 20, 30)
    hand.sent()
    wanted = rasters.stroke([(10, 10), (20, 30)], 16, SIZE)
    assert np.array_equal(server.ids() > 0, wanted)
    before, (x, y) = hand.at(0, 0), hand.at(40, 20)
    for kind, right in (("pointerdown", 0), ("pointermove", 37), ("pointerup", 37)):
        hand.page.evaluate(POINTER, [kind, 2, "touch", x + right, y])
    after = hand.at(0, 0)
    assert (after[0] - before[0], after[1] - before[1]) == pytest.approx((37, 0), abs=1)
    hand.sent()
    assert np.array_equal(server.ids() > 0, wanted)


def test_propagation_is_cancelled_and_its_end_is_told(hand: Hand, server: LocalServer) -> None:
    hand.keys("2", "d")
    hand.drag([(10, 10), (20, 10)])
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    propagation = server.service._propagation
    assert propagation is not None
    held = []

    def start() -> None:
        hand.keys("t")
        hand.page.click("text=Start")
        for _ in range(200):
            if propagation._process is not None:
                break
            hand.page.wait_for_timeout(20)
        held.append(propagation._process.pid)
        os.kill(held[-1], signal.SIGSTOP)  # long enough to be seen
        hand.page.wait_for_selector("#job:not([hidden])")

    start()
    os.kill(held[0], signal.SIGCONT)
    hand.page.click("#job-cancel")
    hand.page.wait_for_selector("text=Propagation is cancelled; what is done stays.")
    start()
    os.kill(held[1], signal.SIGKILL)
    hand.page.wait_for_selector("text=the process that propagates ended by SIGKILL")
    hand.keys("3", "d")
    hand.drag([(10, 30), (20, 30)])
    hand.sent()
    assert (server.ids(1) > 0).any()
