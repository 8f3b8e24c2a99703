"""Tasks in a folder: what the page shows of them, and what an answer leaves in the files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.disc_prompter import DiscPrompter
from tests.fixtures.moving_squares import write_squares
from thriftseg.annotation.eva_vos.objects import ObjectVideo, list_objects
from thriftseg.annotation.page.frame_state import FrameState, mask_of_patch
from thriftseg.annotation.page.in_work import FramesInWork, PageAction
from thriftseg.annotation.page.proposals import Question
from thriftseg.annotation.page.refusals import Conflict, PageError
from thriftseg.annotation.page.tasks.work import TaskProposals, TaskWork
from thriftseg.annotation.people.label_files import FilesAnnotator
from thriftseg.annotation.people.mask_files import MaskFilesPerson
from thriftseg.annotation.people.masks import MaskClick
from thriftseg.annotation.people.requests import Request
from thriftseg.annotation.ranking.selection import Sample
from thriftseg.datasets import write_label_png
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError, WaitingForLabels
from thriftseg.stores.annotation_journal import JournalRow
from thriftseg.taxonomies import CAMVID

HEIGHT, WIDTH = 120, 160


def asked(number: int, region: int, mask: np.ndarray, granularity: str) -> Request:
    return Request.of("drive", Sample(number, region), mask, granularity)


def tile(number: int, region: int, top: int, left: int) -> Request:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 40, left : left + 40] = True
    return asked(number, region, mask, "rec40")


DIAMOND = np.abs(np.arange(HEIGHT)[:, None] - 75) + np.abs(np.arange(WIDTH) - 55) <= 12


@pytest.fixture
def person(tmp_path: Path) -> FilesAnnotator:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return FilesAnnotator(tmp_path, CAMVID, lambda video, number: image)


def ask(person: FilesAnnotator, requests: list[Request], round: int = 1) -> None:
    with pytest.raises(WaitingForLabels):
        person.ask(requests, round)


def finished(verdict: str = "drawn", seconds: float = 4.0) -> list[JournalRow]:
    return [
        JournalRow("f", "finish", 1.0, 2.0, seconds, verdict=verdict, session="s", person="Ann", video="v", frame=0)
    ]


class TestRegions:
    def test_groups_and_regions(self, person, tmp_path):
        """Crops of one size stand together; the region is the tile, the diamond within its line, or all."""
        requests = [tile(30, 5, 40, 40), tile(30, 6, 40, 80), tile(0, 0, 0, 0), asked(30, 99, DIAMOND, "sp")]
        ask(person, requests)
        ask(person, [asked(30, 0, np.ones((HEIGHT, WIDTH), bool), "frame")], 2)
        work = TaskWork(tmp_path)
        assert [(video.name, list(video.numbers), video.size) for video in work.videos] == [
            ("round_1/drive 104x104", [3000005, 3000006], (104, 104)),
            ("round_1/drive 72x72", [0], (72, 72)),
            ("round_1/drive 89x89", [3000099], (89, 89)),
            ("round_2/drive", [30], (120, 160)),
        ]
        sizes = [mask_of_patch(work.start((video, 0)).region, work.videos[video].size).sum() for video in range(4)]
        assert sizes == [1600, 1600, DIAMOND.sum(), HEIGHT * WIDTH]

    def test_an_answer_stays_inside_of_its_region(self, person, tmp_path):
        request = asked(30, 99, DIAMOND, "sp")
        ask(person, [request])
        work = TaskWork(tmp_path)
        start = work.start((0, 0))
        region = mask_of_patch(start.region, work.videos[0].size)
        top, left = np.argwhere(region)[0][0], np.argwhere(region)[:, 1].min()
        np.testing.assert_array_equal(region[top : top + 25, left : left + 25], request.mask)
        assert (region.sum(), start.task["kind"], start.origin) == (DIAMOND.sum(), "region", "empty")
        assert work.status((0, 0)) == (".", -1)
        assert [item[:2] for item in work.queue("tasks")] == [(0, 0)]
        everything = FrameState(np.full(region.shape, 4, np.uint16), {4: 7})
        work.finish((0, 0), everything, finished(seconds=4.25))
        assert work.status((0, 0)) == ("d", -1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of pixels outside of the region
            [answer] = person.ask([request], 1)
        np.testing.assert_array_equal(answer.patch, np.where(request.mask, 7, 255))
        assert (answer.cost.seconds, answer.cost_model) == (4.25, "")
        again = work.start((0, 0))
        assert (again.origin, again.state.areas) == ("drawn", {1: DIAMOND.sum()})
        assert list(work.queue("tasks")) == []

    def test_nothing_to_tell(self, person, tmp_path):
        request = tile(0, 0, 0, 0)
        ask(person, [request])
        work = TaskWork(tmp_path)
        size = work.videos[0].size
        outside = FrameState(np.zeros(size, np.uint16), {1: 3})
        outside.ids[60:] = 1
        with pytest.raises(Conflict, match="nothing of the region is labelled"):
            work.finish((0, 0), outside, finished())
        work.finish((0, 0), outside, finished("absent"))
        [answer] = person.ask([request], 1)
        assert (answer.patch == 255).all()
        assert answer.cost.seconds == 4.0

    def test_an_editor_answers_too(self, person, tmp_path):
        ask(person, [tile(30, 5, 40, 40), tile(30, 6, 40, 80)])
        work = TaskWork(tmp_path)
        assert not work.refresh()
        path = tmp_path / "round_1/labels/drive/000030_00005.png"
        label = np.full((104, 104), 255, np.uint8)
        label[50, 50] = 2
        write_label_png(path, label, CAMVID.flat_palette())
        assert work.refresh()
        assert work.status((0, 0))[0] == "d"
        path.write_bytes(b"no picture")
        assert work.refresh()
        assert work.status((0, 0))[0] == "."
        with pytest.raises(DatasetError, match=r"000030_00005\.png"):
            work.start((0, 0))

    def test_a_new_round_comes_after_the_known_ones(self, person, tmp_path):
        ask(person, [tile(30, 5, 40, 40)], 2)
        work = TaskWork(tmp_path)
        ask(person, [tile(30, 6, 40, 80)], 1)
        assert work.refresh()
        assert [video.name.partition("/")[0] for video in work.videos] == ["round_2", "round_1"]
        assert [item[:2] for item in work.queue("tasks")] == [(0, 0), (1, 0)]

    def test_what_cannot_be_shown(self, person, tmp_path):
        with pytest.raises(ConfigError, match=r"no tasks in this folder; expected task\.json"):
            TaskWork(tmp_path)
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        other = FilesAnnotator(tmp_path / "coco", CAMVID, lambda video, number: image, exchange="coco")
        ask(other, [tile(30, 5, 40, 40)])
        with pytest.raises(PageError, match="exchanged with another tool; expected exchange png; found exchange coco"):
            TaskWork(tmp_path / "coco")
        ask(person, [tile(30, 5, 40, 40)])
        path = tmp_path / "round_1/task.json"
        path.write_text(path.read_text().replace('"name": "drive/', '"name": "../drive/'))
        with pytest.raises(DatasetError, match="a task that leads out of its folder"):
            TaskWork(tmp_path, "round_1")

    def test_there_is_nothing_to_judge(self, person, tmp_path):
        ask(person, [tile(30, 5, 40, 40)])
        work = TaskWork(tmp_path)
        with pytest.raises(Conflict, match="a task is answered, not judged; found accept"):
            work.decide((0, 0), "accept")
        with pytest.raises(Conflict, match="no labels to lock"):
            work.lock_object((0, 0), 1, True)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> ObjectVideo:
    dataset = write_squares(tmp_path_factory.mktemp("data"), {"a": {0: [1], 1: [1]}}, void=False)
    return list_objects(dataset, "train").videos[0]


class TestMasks:
    @pytest.mark.parametrize("kind", ["mask", "clicks"])
    def test_the_mask_so_far(self, square, tmp_path, kind):
        """That of clicks is known from its picture alone."""
        current = square.truth(0)
        MaskFilesPerson(tmp_path, DiscPrompter()).prepare(square, 1, kind, current, 1)
        work = TaskWork(tmp_path)
        assert [(video.name, list(video.numbers)) for video in work.videos] == [("a/001/01_000001", [1])]
        start = work.start((0, 0))
        np.testing.assert_array_equal(start.state.ids, current)
        assert (start.origin, start.state.classes, start.task["kind"]) == ("machine", {1: 0}, kind)
        assert work.taxonomy.class_names == ["object"]

    def test_a_drawn_mask(self, square, tmp_path):
        person = MaskFilesPerson(tmp_path, DiscPrompter())
        person.prepare(square, 1, "mask", square.truth(0), 1)
        work, truth = TaskWork(tmp_path), square.truth(1)
        with pytest.raises(Conflict, match="the mask is empty"):
            work.finish((0, 0), FrameState.empty(square.size), finished())
        work.finish((0, 0), FrameState(truth.astype(np.uint16) * 3, {3: 0}), finished(seconds=9.5))
        found = person.annotate(square, 1, "mask", square.truth(0), 1)
        np.testing.assert_array_equal(found.mask, truth)
        assert (found.kind, found.cost.seconds, work.status((0, 0))[0]) == ("mask", 9.5, "d")
        work.finish((0, 0), FrameState.empty(square.size), finished("absent"))
        assert person.annotate(square, 1, "mask", square.truth(0), 1).kind == "absent"

    def test_the_proposal_is_what_the_loop_gets(self, square, tmp_path):
        """Clicks correct the mask so far, and those of an earlier answer count."""
        person, current = MaskFilesPerson(tmp_path, DiscPrompter()), square.truth(0)
        person.prepare(square, 1, "clicks", current, 1)
        work = TaskWork(tmp_path)
        proposals, frames = TaskProposals(DiscPrompter(), work), FramesInWork(work)
        for number, points in enumerate([[(30, 40, True)], [(12, 6, False), (40, 20, True)]]):
            mask, _ = proposals.answer("s", work.image((0, 0)), Question([MaskClick(*point) for point in points]))
            action = PageAction(f"a{number}", "click", 1.0, 2.0, 3.0, clicks=len(points))
            frames.act((0, 0), [action], "s", "Ann")
        frames.finish((0, 0), PageAction("f", "finish", 2.0, 3.0, 1.0), "s", "Ann", "drawn")
        found = person.annotate(square, 1, "clicks", current, 1)
        np.testing.assert_array_equal(mask, found.mask)
        assert found.clicks == (MaskClick(30, 40, True), MaskClick(12, 6, False), MaskClick(40, 20, True))
        assert found.cost.seconds == 7.0
        with pytest.raises(PageError, match="this task takes clicks"):
            proposals.answer("s", work.image((0, 0)), Question([], (1.0, 1.0, 9.0, 9.0)))

    def test_clicks_outside_never_reach_the_journal(self, square, tmp_path):
        MaskFilesPerson(tmp_path, DiscPrompter()).prepare(square, 1, "clicks", square.truth(0), 1)
        work = TaskWork(tmp_path)
        proposals, frames = TaskProposals(DiscPrompter(), work), FramesInWork(work)
        with pytest.raises(PageError, match="a click outside of the frame"):
            proposals.answer("s", work.image((0, 0)), Question([MaskClick(-5, 40, True)]))
        with pytest.raises(Conflict, match="where these clicks were"):
            frames.act((0, 0), [PageAction("a", "click", 1.0, 2.0, 3.0, clicks=1)], "s", "Ann")
        assert TaskWork(tmp_path).journal.read() == []

    def test_clicks_that_the_disk_did_not_take_are_known_the_next_time(self, square, tmp_path):
        MaskFilesPerson(tmp_path, DiscPrompter()).prepare(square, 1, "clicks", square.truth(0), 1)
        work = TaskWork(tmp_path)
        frames, proposals = FramesInWork(work), TaskProposals(DiscPrompter(), work)
        proposals.answer("s", work.image((0, 0)), Question([MaskClick(30, 40, True)]))
        actions = [PageAction(f"a{number}", "click", 1.0, 2.0, 3.0, clicks=1) for number in range(2)]
        with pytest.raises(Conflict, match="where these clicks were"):  # of the second
            frames.act((0, 0), actions, "s", "Ann")
        work.journal.path.mkdir()
        with pytest.raises(LabelStoreError, match="cannot be read"):
            frames.act((0, 0), actions[:1], "s", "Ann")
        work.journal.path.rmdir()
        frames.act((0, 0), actions[:1], "s", "Ann")
        assert TaskWork(tmp_path).clicks((0, 0)) == [MaskClick(30, 40, True)]

    def test_the_journal_is_read_once(self, square, tmp_path):
        MaskFilesPerson(tmp_path, DiscPrompter()).prepare(square, 1, "clicks", square.truth(0), 1)
        work = TaskWork(tmp_path)
        frames, proposals = FramesInWork(work), TaskProposals(DiscPrompter(), work)
        for number, tool in enumerate(["click", "click", "undo", "redo", "undo"]):
            proposals.answer("s", work.image((0, 0)), Question([MaskClick(30 + number, 40, True)]))
            frames.act((0, 0), [PageAction(f"a{number}", tool, 1.0, 2.0, 3.0, clicks=1)], "s", "Ann")
        assert TaskWork(tmp_path).clicks((0, 0)) == work.clicks((0, 0)) == [MaskClick(30, 40, True)]
        work.journal.path.unlink()
        assert work.clicks((0, 0)) == [MaskClick(30, 40, True)]

    def test_clicks_survive_a_kill(self, square, tmp_path):
        person = MaskFilesPerson(tmp_path, DiscPrompter())
        person.prepare(square, 1, "clicks", square.truth(0), 1)
        work = TaskWork(tmp_path)
        frames, proposals = FramesInWork(work), TaskProposals(DiscPrompter(), work)
        proposals.answer("s", work.image((0, 0)), Question([MaskClick(30, 40, True)]))
        frames.act((0, 0), [PageAction("a", "click", 1.0, 2.0, 3.0, clicks=1)], "s", "Ann")
        again = TaskWork(tmp_path)
        later = FramesInWork(again)
        assert later.has((0, 0))
        later.finish((0, 0), PageAction("f", "finish", 2.0, 3.0, 1.0), "s", "Ann", "drawn")
        task = json.loads((tmp_path / "a/001/01_000001/task.json").read_text())
        assert (task["clicks"], task["seconds"], task["done"]) == ([[30, 40, 1]], 4.0, True)
        assert not FramesInWork(TaskWork(tmp_path)).has((0, 0))

    def test_two_class_tables(self, square, tmp_path):
        MaskFilesPerson(tmp_path, DiscPrompter()).prepare(square, 1, "mask", square.truth(0), 1)
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        ask(FilesAnnotator(tmp_path, CAMVID, lambda video, number: image), [tile(30, 5, 40, 40)])
        with pytest.raises(ConfigError, match="tasks of several class tables"):
            TaskWork(tmp_path)
