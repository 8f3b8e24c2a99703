"""The synthetic street: exact motion, plausible content, determinism."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from thriftseg.errors import ConfigError
from thriftseg.flow import warp_labels
from thriftseg.synthetic import RenderedFrame, SceneConfig, StreetVideo, boxes_of, render_clip
from thriftseg.synthetic.layouts.tracing import fill_regions, trace_coarse_regions, trace_regions
from thriftseg.synthetic.street.plan import build_scene
from thriftseg.synthetic.street.render import FIRST_SURFACE, GROUND, SKY, Renderer
from thriftseg.synthetic.street.scene import STREET, Surface, upright
from thriftseg.synthetic.textures import Texture
from thriftseg.taxonomies import CITYSCAPES

CAR, POLE = CITYSCAPES.class_names.index("car"), CITYSCAPES.class_names.index("pole")


@pytest.fixture(scope="module")
def clips() -> list[list[RenderedFrame]]:
    return [list(render_clip(SceneConfig(128, 256, num_frames=20, seed=seed))) for seed in range(4)]


def square_scene(shift: float) -> Renderer:
    """A scene with a standing camera in which one square moves `shift` pixels to the right per frame."""
    scene = build_scene(SceneConfig(64, 128, num_frames=3, seed=0))
    camera = scene.camera
    for motion in (camera.x, camera.z, camera.principal):
        motion[:] = motion[0]
    depth = np.full(3, camera.z[0] + 10.0)
    metres = shift * 10.0 / camera.focal
    x = camera.x[0] + metres * np.arange(3)
    texture = Texture(np.full((40, 40, 4), 255, dtype=np.uint8))
    poses = upright(x, 2.0, depth, 1.6, 1.6)
    scene.surfaces = [Surface(texture, CAR, CAR * 1000 + 1, poses, depth, np.full(3, STREET))]
    return Renderer(scene)


def test_an_object_moving_three_pixels_pins_the_direction():
    renderer = square_scene(3.0)
    first, second = renderer.draw(0), renderer.draw(1)
    backward, forward = renderer.motion.flow(second, 1, 0), renderer.motion.flow(first, 0, 1)
    on_first, on_second = first.label == CAR, second.label == CAR
    assert on_second.any()
    assert np.array_equal(on_second[:, 3:], on_first[:, :-3])
    np.testing.assert_allclose(backward[0][on_second], -3, atol=1e-3)
    np.testing.assert_allclose(forward[0][on_first], 3, atol=1e-3)
    np.testing.assert_allclose(forward[:, ~on_first], 0, atol=1e-3)
    np.testing.assert_allclose(forward[1], 0, atol=1e-3)


def test_what_the_object_uncovers_is_occluded():
    renderer = square_scene(3.0)
    first, second = renderer.draw(0), renderer.draw(1)
    occluded = renderer.motion.occluded(renderer.motion.flow(second, 1, 0), second, first)
    uncovered = (first.label == CAR) & (second.label != CAR)
    assert uncovered.any()
    assert np.array_equal(occluded, uncovered)


def test_flow_warps_labels_exactly_where_not_occluded(clips: list[list[RenderedFrame]]):
    for frames in clips:
        for previous, frame in itertools.pairwise(frames):
            back = warp_labels(previous.label, frame.flow_backward)
            assert (back == frame.label)[~frame.occluded_backward].mean() >= 0.98
            forth = warp_labels(frame.label, frame.flow_forward)
            assert (forth == previous.label)[~frame.occluded_forward].mean() >= 0.98


def test_flow_warps_instances(clips: list[list[RenderedFrame]]):
    """The same id means the same object in all frames."""
    for frames in clips:
        for previous, frame in itertools.pairwise(frames):
            visible = ~frame.occluded_backward & (frame.instances > 0)
            rows, columns = np.nonzero(visible)
            there_x = np.rint(columns + frame.flow_backward[0][visible]).astype(int)
            there_y = np.rint(rows + frame.flow_backward[1][visible]).astype(int)
            assert (previous.instances[there_y, there_x] == frame.instances[visible]).mean() > 0.9


def test_flow_over_several_frames_is_exact_too():
    video = StreetVideo(SceneConfig(128, 256, num_frames=12, seed=5))
    source, target = video.draw(11), video.draw(3)
    flow, occluded = video.flow(source, target, 11, 3)
    assert 0.02 < occluded.mean() < 0.6
    assert (warp_labels(target.label, flow) == source.label)[~occluded].mean() >= 0.97


def test_the_occlusion_mask_is_not_a_pretext(clips: list[list[RenderedFrame]]):
    share = np.mean([frame.occluded_backward.mean() for frames in clips for frame in frames[1:]])
    assert 0.005 < share < 0.1
    assert all(np.isfinite(frame.flow_backward).all() for frames in clips for frame in frames)


def test_motion_is_neither_absent_nor_wild(clips: list[list[RenderedFrame]]):
    for frames in clips:
        length = np.mean([np.hypot(*f.flow_backward)[~f.occluded_backward].mean() for f in frames[1:]])
        assert 0.1 < length < 12


def test_objects_enter_late_and_leave():
    """In nearly every clip; counts objects of ten pixels or more."""
    late, gone = 0, 0
    for seed in range(6):
        video = StreetVideo(SceneConfig(96, 192, seed=seed))
        visible: list[set[int]] = []
        for t in range(0, 30, 3):
            instances, pixels = np.unique(video.draw(t).instances, return_counts=True)
            visible.append(set(instances[pixels >= 10].tolist()))
        early = set().union(*visible[:4])
        late += bool(set().union(*visible[4:]) - early)
        gone += bool(early - set().union(*visible[8:]))
    assert late >= 5
    assert gone >= 5


def test_objects_keep_their_class(clips: list[list[RenderedFrame]]):
    things = set(CITYSCAPES.thing_ids)
    for frame in (frame for frames in clips for frame in frames):
        on_object = frame.instances > 0
        assert np.array_equal(frame.label[on_object], frame.instances[on_object] // 1000)
        assert np.array_equal(on_object, np.isin(frame.label, list(things)))


def test_thin_structures_exist(clips: list[list[RenderedFrame]]):
    for frames in clips:
        label = frames[-1].label
        runs = np.diff((label == POLE).astype(np.int8), axis=1, prepend=0, append=0)
        widths = np.nonzero(runs.T == -1)[0].size and np.mean(label == POLE) * label.size / max((runs == 1).sum(), 1)
        assert 1 <= widths < 8


def test_boxes_hold_all_visible_pixels(clips: list[list[RenderedFrame]]):
    frame = clips[0][-1]
    assert frame.boxes
    for entry in frame.boxes:
        x0, y0, x1, y1 = entry.box
        rows, columns = np.nonzero(frame.instances == entry.instance)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert entry.train_id == entry.instance // 1000
    assert boxes_of(np.zeros((4, 4), dtype=np.int32)) == []


def test_the_first_frame_has_no_past(clips: list[list[RenderedFrame]]):
    first = clips[0][0]
    assert first.occluded_backward.all()
    assert not first.flow_backward.any()


def test_light_and_noise_change_over_time():
    """A camera and a scene at rest still give frames that differ."""
    renderer = square_scene(0.0)
    first, second = renderer.draw(0).image.astype(float), renderer.draw(1).image.astype(float)
    assert np.std(second - first) > 1
    assert np.abs(first.mean() - second.mean()) > 0.05


def test_same_seed_same_bytes_in_any_order():
    config = SceneConfig(64, 128, num_frames=4, seed=9)
    forward = [frame.image for frame in render_clip(config)]
    video = StreetVideo(config)
    backward = [video.draw(t).image for t in (3, 2, 1, 0)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    other = next(render_clip(SceneConfig(64, 128, num_frames=4, seed=10))).image
    assert not np.array_equal(forward[0], other)


def test_colour_alone_does_not_give_the_class_away():
    """Assigning each pixel the commonest class of its colour in other clips must not work well."""
    votes = np.zeros((4096, 256), dtype=np.int64)

    def binned(image: np.ndarray) -> np.ndarray:
        red, green, blue = (image[..., channel].astype(np.int64) >> 4 for channel in range(3))
        return red * 256 + green * 16 + blue

    for seed in range(8):
        drawing = StreetVideo(SceneConfig(64, 128, num_frames=20, seed=seed)).draw(10)
        np.add.at(votes, (binned(drawing.image).ravel(), drawing.label.ravel()), 1)
    hits = np.zeros(19)
    unions = np.zeros(19)
    for seed in range(100, 104):
        drawing = StreetVideo(SceneConfig(64, 128, num_frames=20, seed=seed)).draw(10)
        guess = votes.argmax(axis=1)[binned(drawing.image)]
        for train_id in range(19):
            here, said = drawing.label == train_id, guess == train_id
            hits[train_id] += (here & said).sum()
            unions[train_id] += (here | said).sum()
    assert (hits / np.maximum(unions, 1)).mean() < 0.25


@pytest.mark.parametrize("size", [(96, 96), (120, 160), (75, 201)])
def test_any_size(size: tuple[int, int]):
    frames = list(render_clip(SceneConfig(*size, num_frames=2, seed=1)))
    assert frames[1].image.shape == (*size, 3)
    assert len(np.unique(frames[1].label)) >= 6


def test_frames_a_second_apart_are_different_places():
    config = SceneConfig(64, 128, num_frames=10, seed=2, frame_interval=1.0)
    frames = list(render_clip(config))
    assert np.mean([frame.occluded_backward.mean() for frame in frames[1:]]) > 0.05
    assert all(len(np.unique(frame.label)) >= 6 for frame in frames)


@pytest.mark.parametrize("arguments", [{"height": 16}, {"num_frames": 0}, {"frame_interval": 0.0}])
def test_impossible_scenes_are_refused(arguments: dict[str, float]):
    with pytest.raises(ConfigError, match="synthetic"):
        SceneConfig(**arguments)


def test_layer_zero_is_sky_and_one_is_ground():
    drawing = StreetVideo(SceneConfig(64, 128, num_frames=1, seed=4)).draw(0)
    assert (drawing.label[drawing.layers == SKY] == CITYSCAPES.class_names.index("sky")).all()
    assert set(np.unique(drawing.label[drawing.layers == GROUND])) <= {0, 1, 9}
    assert drawing.layers.max() >= FIRST_SURFACE


def test_traced_polygons_give_the_label_back(clips: list[list[RenderedFrame]]):
    for frames in clips:
        frame = frames[-1]
        regions = trace_regions(frame.label, frame.instances)
        assert min(len(region.points) for region in regions) >= 3
        assert np.array_equal(fill_regions(regions, *frame.label.shape), frame.label)


def test_traced_polygons_survive_noise():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (24, 31)).astype(np.uint8)
    none = np.zeros(label.shape, dtype=np.int32)
    assert np.array_equal(fill_regions(trace_regions(label, none), *label.shape), label)


def test_coarse_polygons_cover_most_and_err_little(clips: list[list[RenderedFrame]]):
    for frames in clips:
        frame = frames[-1]
        coarse = fill_regions(trace_coarse_regions(frame.label, frame.instances, 2, 6.0, 12), *frame.label.shape)
        drawn = coarse != 255
        assert 0.5 < drawn.mean() < 0.95
        assert 0.95 < (coarse == frame.label)[drawn].mean() < 1
