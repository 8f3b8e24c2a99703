"""The page in a real browser while others work: late actions, refusals, labels being written, other tabs, restarts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import browser as browsers
from tests.fixtures import rasters
from tests.fixtures.annotation_page import box_mask
from tests.fixtures.browser import Hand, LocalServer
from tests.fixtures.page_client import PageClient
from tests.fixtures.square_and_disc import DISC, HEIGHT, SQUARE, WIDTH, truth
from thriftseg.types import LabelKind

pytestmark = pytest.mark.skipif(browsers.missing() is not None, reason=str(browsers.missing()))

SIZE = (HEIGHT, WIDTH)
LEFT, MIDDLE = [(8, 30), (8, 40)], [(30, 30), (30, 40)]


def offline(hand: Hand, lost: bool) -> None:
    """Cut the window off, or connect it again."""
    hand.page.context.set_offline(lost)


def test_what_was_done_on_a_frame_that_is_another_one_now_is_kept_and_offered(hand: Hand, server: LocalServer) -> None:
    hand.keys("2", "d")
    hand.drag(LEFT)
    hand.sent()
    offline(hand, True)  # the laptop sleeps
    hand.keys("n")
    hand.drag(MIDDLE)
    hand.keys("Shift+Enter")
    hand.page.wait_for_selector("text=2 actions not sent yet")
    (session,) = {row.session for row in server.actions()}
    server.service.leave(session)
    bob = PageClient(server.url, "bob")
    bob.open(0, 0)
    bob.draw(0, 0, SQUARE, box_mask(0, 0, 8, 8))  # object 2 as well
    bob.draw(0, 0, DISC, box_mask(30, 50, 38, 58))
    bob.finish(0, 0)
    bob.post("/api/leave")
    theirs = server.ids()
    offline(hand, False)
    hand.page.wait_for_selector("text=2 actions are kept and not done: frame 1 has changed since it was opened")
    hand.picture("outdated")
    hand.opened("0/0")
    assert np.array_equal(server.ids(), theirs)
    assert hand.page.evaluate("document.body.dataset.unsent") == "0"
    hand.page.reload()
    hand.opened("0/0")
    hand.page.click("text=Do them on it as it is now")
    hand.page.wait_for_selector("#banner", state="hidden")
    hand.opened("0/0")
    hand.sent()
    added = rasters.stroke(MIDDLE, 16, SIZE)
    assert np.array_equal(server.ids()[~added], theirs[~added])
    assert np.unique(server.ids()[added]).tolist() == [4], "an object of its own"
    assert (server.drawn.read("street", 0)[added] == SQUARE).all()


def test_a_frame_is_not_finished_without_what_was_refused(hand: Hand, server: LocalServer) -> None:
    spoilt, held = hand.page.context, list[Any]()

    def spoil(route: Any) -> None:
        route.continue_(post_data=route.request.post_data.replace("brush", "saw"))

    spoilt.route("**/actions", lambda route: spoil(route) if held is None else held.append(route))
    hand.keys("2", "d")
    hand.drag(LEFT)
    hand.keys("Shift+Enter")
    while not held:  # the stroke is on its way until the frame is to be finished, however slow this is
        hand.page.wait_for_timeout(20)
    (first,), held = held, None
    spoil(first)
    hand.page.wait_for_selector("text=The frame is not finished: look at it, and finish it again.")
    hand.opened("0/0")
    assert not server.actions()
    spoilt.unroute("**/actions")
    hand.drag(MIDDLE)
    hand.keys("Shift+Enter")
    hand.opened("0/1")
    assert np.array_equal(server.drawn.read("street", 0) == SQUARE, rasters.stroke(MIDDLE, 16, SIZE))


@contextmanager
def written_by_others(folder: Path) -> Iterator[None]:
    """A process that makes labels in a folder of the store."""
    program = "import sys; from thriftseg.folders import sole_writer\n"
    program += "with sole_writer(sys.argv[1]): print('held', flush=True), sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def test_a_decision_that_has_to_wait_keeps_nobody_waiting(hand: Hand, server: LocalServer) -> None:
    work = server.service.work
    for number in (0, 1):
        label = {"kind": LabelKind.PROPAGATED, "generator": "propagate/nearest", "confidence": 0.5 + 0.1 * number}
        work.made.store.write("street", number, truth(number), **label)  # type: ignore[attr-defined]
    hand.page.select_option("#queue-choice", "review")
    hand.page.wait_for_selector("text=confidence 0.60")
    hand.opened("0/0")
    with written_by_others(work.made.store.folder):  # type: ignore[attr-defined]
        hand.keys("a")
        hand.opened("0/1")
        hand.keys("3", "d")
        hand.drag(MIDDLE)
        hand.page.wait_for_selector("text=1 action not sent yet")
        hand.keys("ArrowRight")
        hand.opened("0/2")
        assert [row.tool for row in server.actions()] == ["brush"]
        assert server.service.video(0)["states"] == "mw."
    hand.sent()
    assert server.service.video(0)["states"] == "rw."
    assert hand.page.get_attribute("body", "data-open") == "0/2"


def test_a_second_tab_leaves_the_first_one_alone_without_locks_of_the_browser(
    new_hand: Callable[[], Hand], server: LocalServer
) -> None:
    first = new_hand()
    context = first.page.context
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', {value: undefined})")
    first.visit(server.url)
    first.keys("2", "d")
    context.route("**/actions", lambda route: route.abort())
    first.drag(LEFT)
    first.page.wait_for_selector("text=1 action not sent yet")
    second = Hand(context.new_page())
    second.visit(server.url, "0/1")
    second.page.wait_for_timeout(300)
    assert second.page.evaluate("document.body.dataset.unsent") == "0"
    assert set(server.service.leases.of_others("")) == {(0, 0), (0, 1)}
    context.unroute("**/actions")
    first.sent()
    assert (server.ids() > 0).any()
    assert not first.errors + second.errors


def test_a_new_server_is_noticed_by_its_name(hand: Hand, server: LocalServer) -> None:
    """However many changes it has counted, and whatever they are about."""
    server.stop()
    label = {"kind": LabelKind.PROPAGATED, "generator": "propagate/nearest"}
    server.service.work.made.store.write("street", 2, truth(2), **label)  # type: ignore[attr-defined]
    server.start()
    server.service._timeline.version = 100
    hand.keys("End")
    hand.opened("0/2")
    hand.page.wait_for_function("() => document.querySelector('#where').textContent.includes('label of the machine')")


def test_a_stroke_in_the_middle_is_no_part_of_what_is_deleted(hand: Hand, server: LocalServer) -> None:
    hand.keys("2", "d")
    hand.drag(LEFT)
    hand.page.mouse.move(*hand.at(30, 30))
    hand.page.mouse.down()
    hand.page.mouse.move(*hand.at(30, 40))
    hand.keys("Delete")
    hand.page.mouse.up()
    hand.sent()
    assert not server.ids().any()
    assert [row.tool for row in server.actions()] == ["brush", "delete"]
    hand.keys("Control+z")
    hand.sent()
    assert np.array_equal(server.ids() > 0, rasters.stroke(LEFT, 16, SIZE))


def test_what_belongs_to_a_video_that_is_not_there_waits_for_it(hand: Hand, server: LocalServer) -> None:
    clip = server.folder / "data" / "train" / "street"
    hand.keys("2", "d")
    server.stop()
    hand.drag(LEFT)
    hand.page.wait_for_selector("text=1 action not sent yet")
    clip.rename(clip.with_name("avenue"))
    server.start()
    hand.page.wait_for_selector("body[data-unsent='0']", state="attached")
    hand.opened("0/0")
    hand.keys("3")
    hand.drag(MIDDLE)
    hand.sent()
    assert np.array_equal(server.ids() > 0, rasters.stroke(MIDDLE, 16, SIZE))
    server.stop()
    clip.with_name("avenue").rename(clip)
    server.start()
    for _ in range(200):
        if [row.video for row in server.actions()] == ["avenue", "street"]:
            break
        hand.page.wait_for_timeout(50)
    assert np.array_equal(server.ids() > 0, rasters.stroke(LEFT, 16, SIZE))


def test_what_was_undone_can_be_redone_after_the_page_has_looked_for_changes(hand: Hand, server: LocalServer) -> None:
    hand.page.context.route("**/api/changes*", lambda route: route.abort())
    hand.page.wait_for_selector("text=The connection to the server is lost")
    hand.keys("2", "d")
    hand.drag(LEFT)
    hand.sent()
    drawn = server.ids()
    hand.keys("Control+z")
    hand.sent()
    hand.page.context.unroute("**/api/changes*")
    for _ in range(2):  # the second one comes after all that the first has led to
        with hand.page.expect_response("**/api/changes*"):
            pass
    hand.keys("Control+y")
    hand.sent()
    assert drawn.any()
    assert np.array_equal(server.ids(), drawn)


def test_a_second_look_at_the_same_notice_is_about_what_it_is_about_now(hand: Hand, server: LocalServer) -> None:
    """Twice an action on a frame that others have changed: the first is thrown away, the second is done."""
    bob = PageClient(server.url, "bob")
    for column, choice in ((40, "Throw them away"), (50, "Do them on it as it is now")):
        offline(hand, True)
        hand.keys("2", "d", "n")
        hand.drag([(column, 8), (column, 12)])
        hand.page.wait_for_selector("text=1 action not sent yet")
        for session in {lease.session for lease in server.service.leases._leases.values()}:
            server.service.leave(session)
        bob.open(0, 0)
        bob.draw(0, 0, DISC, box_mask(30, column, 38, column + 4))
        bob.post("/api/leave")
        offline(hand, False)
        hand.page.wait_for_selector("text=1 action is kept and not done")
        hand.opened("0/0")
        hand.page.click(f"text={choice}")
        hand.page.wait_for_selector("#banner", state="hidden")
        hand.opened("0/0")
    hand.sent()
    wanted = rasters.stroke([(50, 8), (50, 12)], 16, SIZE)
    found = server.ids() > 0
    found[30:38] = False
    assert np.array_equal(found, wanted)
