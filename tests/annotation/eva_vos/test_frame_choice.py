"""Choices of frames against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.annotation.eva_vos.object_states import hiding_square, progress_of
from thriftseg.annotation.eva_vos.frame_choice import FarthestFrames, QNetFrames, create_frame_choice, farthest
from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.eva_vos.progress import open_frames
from thriftseg.annotation.people.masks import MaskAnnotation
from thriftseg.costs import AnnotationCost
from thriftseg.errors import ConfigError
from thriftseg.zoo import QNet


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> ObjectVideo:
    return hiding_square(tmp_path_factory.mktemp("square"))


class TestFarthest:
    def test_equation_by_brute_force(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            features = rng.integers(0, 4, (9, 2)).astype(np.float32)  # many ties
            order = rng.permutation(9)
            references, candidates = sorted(order[:3].tolist()), sorted(order[3:].tolist())
            nearest = [min(np.hypot(*(features[i] - features[j])) for j in references) for i in candidates]
            expected = candidates[nearest.index(max(nearest))]
            assert farthest(features, references, candidates) == expected

    def test_equal_frames_the_first(self):
        assert farthest(np.zeros((5, 3), np.float32), [0], [2, 3, 4]) == 2


class TestOpenFrames:
    def test_drawn_frames_never_again_and_clicked_ones_at_the_end(self):
        assert open_frames({0: "mask", 1: "clicks"}, 3) == [2]
        assert open_frames({0: "mask", 1: "clicks", 2: "clicks"}, 3) == [1, 2]
        assert open_frames({0: "mask", 1: "absent", 2: "mask"}, 3) == []


class TestQNet:
    @pytest.fixture(scope="class")
    def choice(self) -> QNetFrames:
        torch.manual_seed(0)
        return QNetFrames(QNet())

    @pytest.fixture(scope="class")
    def short(self, tmp_path_factory: pytest.TempPathFactory) -> ObjectVideo:
        return hiding_square(tmp_path_factory.mktemp("short"), frames=5, hidden=(2,))

    def test_is_the_frame_farthest_from_annotated_ones(self, short: ObjectVideo, choice: QNetFrames):
        progress = progress_of(short, {0: "mask", 3: "clicks"})
        features = choice.embed(progress)
        assert features.shape == (5, 1024)
        distances = np.linalg.norm(features[:, None] - features[[0, 3]], axis=2).min(axis=1)
        distances[[0, 3]] = -1
        assert choice.choose(progress) == distances.argmax()
        progress.masks[1] = True
        moved = np.abs(choice.embed(progress) - features).max(axis=1)
        assert moved[1] > 1e-3
        assert moved[[0, 2, 3, 4]].max() < 1e-5

    def test_frames_are_embedded_once_and_masks_in_every_round(self, short: ObjectVideo):
        network = QNet(backbone="mobilenet_v2").eval()
        seen: dict[str, list[int]] = {"rgb": [], "mask": []}
        network.rgb_branch.register_forward_hook(lambda *call: seen["rgb"].append(len(call[1][0])))
        network.mask_branch.register_forward_hook(lambda *call: seen["mask"].append(len(call[1][0])))
        choice = QNetFrames(network, batch_size=3)
        for kinds in ({0: "mask"}, {0: "mask", 3: "mask"}):
            features = choice.embed(progress_of(short, kinds))
        assert seen == {"rgb": [3, 2], "mask": [3, 2] * 2}
        at_once = QNetFrames(network)
        assert np.allclose(at_once.embed(progress_of(short, kinds)), features, atol=1e-5)
        assert (seen["rgb"][2:], seen["mask"][4:]) == ([5], [5])

    def test_videos_of_the_same_name_are_not_mixed_up(self, short: ObjectVideo, tmp_path: Path):
        choice = QNetFrames(QNet(backbone="mobilenet_v2"))
        other = hiding_square(tmp_path, frames=4, hidden=())
        assert other.video == short.video
        assert [len(choice.embed(progress_of(video, {0: "mask"}))) for video in (short, other)] == [5, 4]

    def test_wrong_batch_size(self):
        with pytest.raises(ConfigError, match="batch size of QNet; expected 1 or more; found 0"):
            QNetFrames(QNet(backbone="mobilenet_v2"), batch_size=0)

    def test_clicked_frames_are_chosen_when_no_other_is_left(self, short: ObjectVideo, choice: QNetFrames):
        kinds = dict.fromkeys(range(5), "mask") | {1: "clicks", 4: "clicks"}
        assert choice.choose(progress_of(short, kinds)) == 1

    def test_of_clicked_frames_the_one_that_was_annotated_longest_ago(self, short: ObjectVideo, choice: QNetFrames):
        progress = progress_of(short, {0: "mask", 4: "clicks", 2: "clicks", 3: "mask", 1: "clicks"})
        chosen = []
        for _ in range(4):
            chosen.append(choice.choose(progress))
            clicked = MaskAnnotation("clicks", progress.masks[chosen[-1]], AnnotationCost(clicks=3))
            progress = progress.after(chosen[-1], clicked)
        assert chosen == [4, 2, 1, 4]


class TestOthers:
    def test_random_depends_on_seed_and_round_only(self, video: ObjectVideo):
        choice = create_frame_choice("random")
        chosen = [choice.choose(progress_of(video, {0: "mask"}, seed=seed)) for seed in range(40)]
        assert chosen == [choice.choose(progress_of(video, {0: "mask"}, seed=seed)) for seed in range(40)]
        assert len(set(chosen)) > 7
        assert 0 not in chosen
        rounds = [choice.choose(progress_of(video, {0: "mask"}, round=number)) for number in range(20)]
        assert len(set(rounds)) > 4

    def test_oracle_takes_the_worst_frame_that_shows_the_object(self, video: ObjectVideo):
        choice = create_frame_choice("oracle")
        for kinds in ({0: "mask"}, {0: "mask", 11: "mask"}, {3: "mask", 10: "mask"}):
            progress = progress_of(video, kinds)
            quality = progress.scores.jf
            assert quality[choice.choose(progress)] == min(quality[place] for place in range(12) if quality[place] < 2)
        shown = dict.fromkeys([*range(6), *range(8, 12)], "mask")
        assert choice.choose(progress_of(video, shown)) == 6

    def test_upper_bound_tries_all_frames(self, video: ObjectVideo):
        progress = progress_of(video, {0: "mask"})
        found = {place: progress.attempt(place, "mask").mean_jf for place in range(1, 12)}
        best = max(found, key=lambda place: (found[place], -place))
        assert create_frame_choice("upper_bound").choose(progress) == best
        assert found[best] > progress.scores.mean_jf

    def test_upper_bound_can_be_capped(self, video: ObjectVideo):
        progress = progress_of(video, {0: "mask"})
        create_frame_choice("upper_bound", cap=3).choose(progress)
        assert sorted(place for place, _ in progress._attempts) == [1, 4, 8]
        assert create_frame_choice("upper_bound").arguments["cap"] == 104
        assert create_frame_choice("upper_bound", cap=None).arguments["cap"] is None

    def test_features_of_frames_alone(self, video: ObjectVideo):
        torch.manual_seed(0)
        choice = FarthestFrames("test_resnet.r160_in1k", pretrained=False)
        features = choice.embed(video)
        progress = progress_of(video, {0: "mask"})
        assert choice.choose(progress) == farthest(features, [0], list(range(1, 12)))
        progress.masks[:] = True
        assert choice.choose(progress) == farthest(features, [0], list(range(1, 12)))
        torch.manual_seed(1)
        other = FarthestFrames("test_resnet.r160_in1k", pretrained=False)
        assert other.arguments != choice.arguments  # a run does not go on with other weights

    def test_pictures_of_qnet_alone(self, video: ObjectVideo):
        torch.manual_seed(0)
        network = QNet(backbone="tu-test_resnet")
        choice = create_frame_choice("l2:qnet", network=network)
        progress = progress_of(video, {0: "mask"})
        pictures = choice.embed(progress)
        assert (pictures == QNetFrames(network).embed(progress)[:, : pictures.shape[1]]).all()
        assert choice.choose(progress) == farthest(pictures, [0], list(range(1, 12)))
        assert choice.arguments["frames"] == "l2:qnet"

    def test_oracle_needs_no_more_rounds_than_random(self, tmp_path: Path):
        video = hiding_square(tmp_path, frames=16, hidden=(7,))
        oracle, random = create_frame_choice("oracle"), create_frame_choice("random")
        taken = [rounds_until(video, random, 0.85, seed) for seed in range(20)]
        assert rounds_until(video, oracle, 0.85, 0) <= np.mean(taken)

    def test_wrong_names_and_settings(self):
        for name in ("best", "l2", "random:resnet18"):
            with pytest.raises(ConfigError, match="no such choice of frames"):
                create_frame_choice(name)
        with pytest.raises(ConfigError, match="no such encoder"):
            create_frame_choice("l2:resnet_of_tomorrow")
        with pytest.raises(ConfigError, match="wrong settings"):
            create_frame_choice("random", cap=3)
        with pytest.raises(ConfigError, match="cap"):
            create_frame_choice("upper_bound", cap=0)


def rounds_until(video: ObjectVideo, choice, goal: float, seed: int) -> int:
    kinds = {0: "mask"}
    while (progress := progress_of(video, kinds, seed=seed)).scores.mean_j < goal:
        kinds[choice.choose(progress)] = "mask"
    return len(kinds)
