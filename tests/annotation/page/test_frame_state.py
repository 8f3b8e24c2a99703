import numpy as np
import pytest

from thriftseg.annotation.page.frame_state import FrameState, expanded, mask_of_patch, patch_of
from thriftseg.annotation.page.refusals import PatchError
from thriftseg.stores import Patch


def test_patches_change_what_they_name_and_keep_the_rest():
    state = FrameState(np.array([[1, 1, 0], [2, 2, 2]], np.uint16), {1: 4, 2: 0, 9: 3})
    state.apply(Patch(1, 0, 2, 2, (9, 1, -1, 2, 0, 1)))
    assert state.ids.tolist() == [[1, 9, 0], [2, 2, 0]]
    assert state.to_label().tolist() == [[4, 3, 255], [0, 0, 255]]
    assert state.areas == {1: 1, 2: 2, 9: 1}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (Patch(2, 0, 2, 1, (0, 2)), "outside of its frame; expected a box in 3x2; found 2x1 at 2, 0"),
        (Patch(0, 1, 1, 2, (0, 2)), "outside of its frame"),
        (Patch(2**62, 2**62, 2**62, 2**62, (0, 1)), "outside of its frame"),
        (Patch(0, 0, 3, 2, (0, 5)), "do not fill the patch; expected 6 pixels"),
        (Patch(0, 0, 3, 2, (0, 7)), "do not fill the patch"),
        (Patch(0, 0, 3, 2, (0, 6, 1)), "do not fill the patch"),
        (Patch(0, 0, 3, 2, (0, 6, 1, 0)), "do not fill the patch"),
        (Patch(0, 0, 3, 2, (0, 7, 1, -1)), "do not fill the patch"),
        (Patch(0, 0, 3, 2, (1, 2**31 - 1) * 64), "do not fill the patch"),
        (Patch(0, 0, 3, 2, (3, 6)), "an object that the frame does not have; found 3"),
    ],
)
def test_patches_that_do_not_fit_are_refused(patch, message):
    state = FrameState(np.ones((2, 3), np.uint16), {1: 0})
    with pytest.raises(PatchError, match=message):
        state.apply(patch)
    assert (state.ids == 1).all()


@pytest.mark.parametrize("runs", [(0, 2, -1, 4), (-1, 2, 1, 4)])
def test_locked_objects_keep_their_pixels(runs):
    state = FrameState(np.array([[1, 1, 2], [2, 2, 2]], np.uint16), {1: 0, 2: 0})
    with pytest.raises(PatchError, match="locked object; fix: unlock it first"):
        state.apply(Patch(0, 0, 3, 2, runs), locked={1})
    state.apply(Patch(0, 0, 3, 2, (1, 2, 0, 4)), locked={1})  # as it was
    assert state.ids.tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_masks_and_patches_are_each_other(seed):
    mask = np.random.default_rng(seed).random((17, 23)) > 0.9
    mask[:3], mask[:, 20:] = False, False
    patch = patch_of(mask)
    assert (patch.y, patch.x) == (np.flatnonzero(mask.any(1))[0], np.flatnonzero(mask.any(0))[0])
    assert np.array_equal(mask_of_patch(patch, (17, 23)), mask)
    assert expanded(patch, (17, 23)).sum() == mask.sum()


def test_an_empty_mask_is_an_empty_patch():
    patch = patch_of(np.zeros((4, 5), bool))
    assert patch == Patch(0, 0, 0, 0)
    state = FrameState(np.ones((4, 5), np.uint16), {1: 0})
    state.apply(patch)
    assert (state.ids == 1).all()
