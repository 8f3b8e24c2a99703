"""Clicks that correct masks without weights, on pictures whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from thriftseg.annotation.people.mask_clicker import ClickPerson, PromptedMask, corrective_click, mask_iou, rebuild_mask
from thriftseg.labels.refining.prompters.grabcut import GrabCutPrompter
from thriftseg.labels.refining.prompters.grabcut_clicks import Place, corrected
from thriftseg.labels.refining.prompters.protocol import CorrectsMasks, Prompt
from thriftseg.labels.refining.prompters.sam2 import SAM2Prompter

HEIGHT, WIDTH = 120, 160


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def picture(*regions: tuple[np.ndarray, tuple[int, int, int]], grain: float = 0, seed: int = 0) -> np.ndarray:
    """Regions of one colour each on grey ground."""
    image = np.full((HEIGHT, WIDTH, 3), 90.0)
    for mask, colour in regions:
        image[mask] = colour
    image += np.random.default_rng(seed).normal(0, grain, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def once(image: np.ndarray, mask: np.ndarray, *clicks: tuple[int, int, bool]) -> np.ndarray:
    return corrected(image, mask, [Place(*click) for click in clicks], [0.0])[0]


BODY, HEAD, WALL = box(40, 50, 90, 90), box(20, 62, 40, 78), box(50, 90, 80, 120)
COLOURS = [(BODY, (200, 60, 60)), (HEAD, (60, 60, 200)), (WALL, (60, 160, 60))]


class TestCorrected:
    def test_a_positive_click_adds_the_region_under_it(self):
        assert np.array_equal(once(picture(*COLOURS), BODY, (70, 30, True)), BODY | HEAD)

    def test_a_negative_click_removes_the_region_under_it(self):
        assert np.array_equal(once(picture(*COLOURS), BODY | WALL, (104, 65, False)), BODY)

    def test_with_grain(self):
        image = picture(*COLOURS, grain=10)
        assert mask_iou(once(image, BODY, (70, 30, True)), BODY | HEAD) > 0.98
        assert mask_iou(once(image, BODY | WALL, (104, 65, False)), BODY) > 0.98

    def test_far_pixels_stay(self):
        """A second object of the same colour, and a wrong bit of mask far from the click."""
        twin, bit = box(20, 5, 40, 21), box(100, 130, 110, 140)
        found = once(picture(*COLOURS, (twin, (60, 60, 200))), BODY | bit, (70, 30, True))
        assert not (found != BODY | bit)[~HEAD].any()
        assert found[30, 70]
        assert np.array_equal(once(picture(*COLOURS), BODY | bit, (70, 30, True)), BODY | HEAD | bit)

    @pytest.mark.parametrize("positive", [True, False])
    def test_only_one_region_changes_to_the_label_of_the_click(self, positive: bool):
        rng = np.random.default_rng(4)
        for _ in range(6):
            image = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 6)
            mask = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH)), (0, 0), 8) > 0.5
            y, x = rng.permutation(np.argwhere(mask != positive))[0].tolist()
            changed = once(image, mask, (x, y, positive)) != mask
            assert not (changed & (mask == positive)).any()
            assert changed[y, x]
            assert cv2.connectedComponents(changed.view(np.uint8), connectivity=4)[0] == 2

    def test_earlier_clicks_keep_their_pixels(self):
        image = picture(*COLOURS)
        assert once(image, BODY, (70, 30, True))[24, 66]
        found = once(image, BODY, (66, 24, False), (70, 30, True))
        assert not found[24, 66]
        assert found[30, 70]

    def test_a_negative_click_beside_the_mask_changes_nothing(self):
        assert np.array_equal(once(picture(*COLOURS, grain=10), BODY, (5, 5, False)), BODY)

    def test_a_positive_click_on_the_mask_asks_for_more_around_it(self):
        image, core = picture(*COLOURS, grain=10), box(48, 58, 82, 82)
        confirmed, more = corrected(image, core, [Place(70, 60, True)], [-1.5, 0.0])
        assert np.array_equal(confirmed, core)
        assert mask_iou(more, BODY) > 0.95
        assert mask_iou(once(image, BODY, (70, 60, True)), BODY) > 0.98

    def test_more_generous_answers_are_larger(self):
        image = cv2.GaussianBlur(picture(*COLOURS, grain=60), (0, 0), 3)
        few, some, many = corrected(image, BODY, [Place(70, 30, True)], [-1.5, 0.0, 1.5]).sum(axis=(1, 2))
        assert few <= some <= many
        assert few < many

    def test_large_windows_are_cut_at_a_smaller_size(self):
        size = 8 * WIDTH, 8 * HEIGHT
        image = cv2.resize(picture(*COLOURS), size, interpolation=cv2.INTER_NEAREST)
        body, head = (cv2.resize(mask.view(np.uint8), size).astype(bool) for mask in (BODY, HEAD))
        found = once(image, body, (8 * 70, 8 * 30, True))
        assert mask_iou(found, body | head) > 0.97

    @pytest.mark.parametrize("xy", [(0, 0), (WIDTH - 1, HEIGHT - 1)])
    @pytest.mark.parametrize("start", [box(0, 0, 0, 0), box(0, 0, 120, 160), BODY])
    def test_at_the_corners(self, xy: tuple[int, int], start: np.ndarray):
        positive = not start[xy[1], xy[0]]
        assert once(picture(*COLOURS), start, (*xy, positive))[xy[1], xy[0]] == positive

    def test_a_picture_of_one_colour(self):
        found = once(picture(), box(0, 0, 0, 0), (80, 60, True))
        assert found[60, 80]
        assert not found[0, 0]

    def test_one_pixel(self):
        image = np.zeros((1, 1, 3), np.uint8)
        assert corrected(image, np.zeros((1, 1), bool), [Place(0, 0, True)], [0.0]).tolist() == [[[True]]]


class TestGrabCut:
    def test_the_first_click_finds_an_object_that_is_larger_than_its_surroundings_seen(self):
        """Where the background next to the click is the object, GrabCut of points alone finds next to nothing."""
        truth = cv2.ellipse(np.zeros((240, 428), np.uint8), (210, 120), (90, 70), 0, 0, 360, 1, cv2.FILLED).astype(bool)
        image = np.where(truth[..., None], [170, 90, 60], [80, 120, 90]) * 1.0
        image = (image + np.random.default_rng(0).normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)
        embedded = GrabCutPrompter().embed(image)
        click = np.array([[210, 120]], np.float32), np.ones(1, bool)
        assert mask_iou(embedded.predict([Prompt(*click)], 1)[0].masks[0], truth) < 0.2
        assert mask_iou(embedded.correct(None, *click, 1).masks[0], truth) > 0.8

    def test_answers_twice_the_same_whatever_came_before(self):
        embedded = GrabCutPrompter().embed(picture(*COLOURS, grain=20))
        click = np.array([[70, 30]], np.float32), np.ones(1, bool)
        first = embedded.correct(BODY, *click, 3)
        cv2.setRNGSeed(99)
        embedded.predict([Prompt(box=(40, 30, 100, 100))], 1)
        second = embedded.correct(BODY, *click, 3)
        assert np.array_equal(first.masks, second.masks)
        assert first.scores.tolist() == second.scores.tolist()
        assert first.scores.tolist() == pytest.approx([mask_iou(mask, first.masks[1]) for mask in first.masks])
        assert np.array_equal(embedded.correct(BODY, *click, 1).masks[0], first.masks[1])
        assert np.array_equal(first.low_res_logits > 0, first.masks)

    def test_corrects_masks_of_others_without_describing_them(self):
        embedded = GrabCutPrompter().embed(picture(*COLOURS))
        assert isinstance(embedded, CorrectsMasks)
        prompted = rebuild_mask(embedded, BODY)
        assert (prompted.clicks, np.array_equal(prompted.mask, BODY)) == ((), True)
        assert rebuild_mask(embedded, box(0, 0, 0, 0)).mask is None
        assert not hasattr(SAM2Prompter, "correct")

    def test_every_click_raises_the_mean_iou(self):
        """Ellipses in two colours, on spotted ground, from masks that have slipped."""
        rng, rows = np.random.default_rng(0), []
        for seed in range(12):
            centre = rng.integers([55, 45], [105, 75]).tolist()
            axes, angle = rng.integers(18, 32, 2).tolist(), int(rng.integers(0, 180))
            canvas = cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.uint8), centre, axes, angle, 0, 360, 1, cv2.FILLED)
            truth = canvas.astype(bool)
            lower = truth & (np.arange(HEIGHT)[:, None] > centre[1])
            image = picture((truth, (180, 110, 60)), (lower, (70, 70, 150)), grain=25, seed=seed)
            image = cv2.GaussianBlur(image, (0, 0), 1)
            start = np.roll(truth, rng.integers(-16, 17, 2).tolist(), axis=(0, 1))
            prompted = rebuild_mask(GrabCutPrompter().embed(image), start, 1)
            person, row = ClickPerson(GrabCutPrompter(), candidates=1), [mask_iou(start, truth)]
            row += [mask_iou(person.click_once(prompted, truth), truth) for _ in range(3)]
            rows.append(row)
        assert (np.diff(np.mean(rows, axis=0)) > 0.01).all()
        assert np.mean(rows, axis=0)[-1] > 0.85

    def test_clicks_of_a_session_are_all_heeded(self):
        image = picture(*COLOURS, grain=30)
        prompted, truth = PromptedMask(GrabCutPrompter().embed(image), 1, WALL), BODY | HEAD
        for _ in range(5):
            mask = prompted.add(corrective_click(prompted.mask, truth), lambda answer: 0)
            assert all(mask[y, x] == positive for x, y, positive in prompted.clicks)
