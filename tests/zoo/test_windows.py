from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo import DeepLabV3Plus, SemanticNetwork, SlidingWindow, WholeImage, predict_sliding, predict_whole


class WindowMean(SemanticNetwork):
    """Every logit is the mean of the whole input, so that windows differ."""

    past_frames = 1

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.sizes: list[tuple[int, int]] = []
        self.scale = nn.Parameter(torch.arange(1.0, num_classes + 1))

    def compute_logits(self, frames: Tensor) -> Tensor:
        self.sizes.append((frames.shape[-2], frames.shape[-1]))
        mean = frames.mean(dim=(1, 2, 3, 4)).view(-1, 1, 1, 1)
        return (mean * self.scale.view(1, -1, 1, 1)).expand(-1, -1, *frames.shape[-2:])


@pytest.mark.parametrize("crop", [(40, 56), (64, 64), (40, 400)])
def test_a_crop_that_covers_the_frame_is_exactly_whole(crop):
    torch.manual_seed(0)
    network = DeepLabV3Plus(3, decoder_channels=8).eval()
    frames = torch.randn(1, 3, 40, 56)
    with torch.inference_mode():
        whole = predict_whole(network, frames)
        assert torch.equal(predict_sliding(network, frames, crop, crop), whole)
        assert torch.equal(SlidingWindow(crop)(network, frames), whole)
        assert torch.equal(WholeImage()(network, frames), whole)


@pytest.mark.parametrize(
    ("crop", "stride", "tops", "lefts"),
    [
        ((4, 6), (4, 6), [0, 4, 6], [0, 6, 8]),  # the last window is moved back
        ((5, 7), (5, 7), [0, 5], [0, 7]),  # fits exactly
        ((4, 14), (3, 14), [0, 3, 6], [0]),  # one dimension is covered
        ((6, 8), (1, 5), [0, 1, 2, 3, 4], [0, 5, 6]),
    ],
)
def test_mean_of_the_windows_that_see_a_pixel(crop, stride, tops, lefts):
    network = WindowMean(2)
    frames = torch.rand(3, 2, 3, 10, 14)
    total, views = torch.zeros(3, 10, 14), torch.zeros(10, 14)
    for top in tops:
        for left in lefts:
            window = (..., slice(top, top + crop[0]), slice(left, left + crop[1]))
            total[window] += frames[window].mean(dim=(1, 2, 3, 4)).view(3, 1, 1)
            views[window] += 1
    logits = predict_sliding(network, frames, crop, stride)
    assert torch.allclose(logits[:, 0], total / views, atol=1e-6)
    assert torch.allclose(logits[:, 1], 2 * logits[:, 0], atol=1e-6)
    assert network.sizes == [crop] * (len(tops) * len(lefts))


def test_keeps_the_gradient():
    network = WindowMean(2)
    predict_sliding(network, torch.rand(1, 2, 3, 10, 14), (4, 6), (4, 6)).sum().backward()
    assert network.scale.grad is not None


@pytest.mark.parametrize(("crop", "stride"), [((4, 4), (5, 4)), ((4, 4), (4, 0)), ((0, 4), (1, 1)), ((4, 4), (-1, 2))])
def test_gaps_are_refused(crop, stride):
    with pytest.raises(ConfigError, match=r"windows would leave gaps; expected 0 < stride <= crop; found crop"):
        SlidingWindow(crop, stride)
    with pytest.raises(ConfigError, match="windows would leave gaps"):
        predict_sliding(WindowMean(2), torch.rand(1, 2, 3, 10, 14), crop, stride)


def test_protocols_are_built_from_a_config():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--inference", type=WholeImage | SlidingWindow, default=WholeImage())
    config = {"class_path": "thriftseg.zoo.SlidingWindow", "init_args": {"crop": [769, 769], "stride": [513, 513]}}
    built = parser.instantiate(parser.parse_object({"inference": config})).inference
    assert built == SlidingWindow((769, 769), (513, 513))
