from __future__ import annotations

import numpy as np
import pytest
import torch

from thriftseg.datamodules.photometric import PhotometricConfig
from thriftseg.errors import ConfigError


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(3, 4, 3, 12, 16, generator=torch.Generator().manual_seed(0))


def factors(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows)


def test_neutral_factors_change_nothing(frames):
    config = PhotometricConfig(hue=0.1)
    out = config.apply(frames, factors(*[(1, 1, 1, 0)] * 3))
    assert torch.allclose(out, frames, atol=1e-5)


def test_all_frames_of_a_sample_change_alike(frames):
    frames = frames[:, :1].expand(-1, 4, -1, -1, -1)
    config = PhotometricConfig(hue=0.1)
    drawn = torch.from_numpy(np.stack([config.draw(np.random.default_rng(seed)) for seed in range(3)]))
    out = config.apply(frames, drawn)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert all((out[b] - frames[b]).abs().mean() > 0.01 for b in range(3))


def test_samples_do_not_influence_each_other(frames):
    config = PhotometricConfig(hue=0.05)
    drawn = torch.from_numpy(np.stack([config.draw(np.random.default_rng(seed)) for seed in range(3)]))
    whole = config.apply(frames, drawn)
    alone = torch.cat([config.apply(frames[b : b + 1], drawn[b : b + 1]) for b in range(3)])
    assert torch.allclose(whole, alone, atol=1e-6)


def test_brightness_contrast_and_saturation_by_hand():
    frame = torch.tensor([0.2, 0.4, 0.6]).view(1, 1, 3, 1, 1).expand(1, 1, 3, 2, 2)
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    channel = frame[0, 0, :, 0, 0]
    config = PhotometricConfig()
    bright = config.apply(frame, factors((1.25, 1, 1, 0)))[0, 0, :, 0, 0]
    assert torch.allclose(bright, channel * 1.25, atol=1e-6)
    for row in ((1, 0.5, 1, 0), (1, 1, 0.5, 0)):
        out = config.apply(frame, factors(row))[0, 0, :, 0, 0]
        assert torch.allclose(out, grey + (channel - grey) * 0.5, atol=1e-3)


def test_result_stays_in_range_and_carries_no_gradient(frames):
    frames.requires_grad_()
    out = PhotometricConfig(brightness=1, contrast=1, saturation=1).apply(frames, factors(*[(1.9, 1.9, 1.9, 0)] * 3))
    assert out.min() >= 0
    assert out.max() <= 1
    assert not out.requires_grad


def test_draws_stay_in_their_ranges():
    config = PhotometricConfig(brightness=0.4, contrast=0.2, saturation=0, hue=0.1)
    drawn = np.stack([config.draw(np.random.default_rng(seed)) for seed in range(500)])
    assert drawn.dtype == np.float32
    assert np.allclose(drawn.min(0), [0.6, 0.8, 1, -0.1], atol=0.01)
    assert np.allclose(drawn.max(0), [1.4, 1.2, 1, 0.1], atol=0.01)


def test_bad_strength():
    with pytest.raises(ConfigError, match="photometric hue must lie between 0 and 1; found 3"):
        PhotometricConfig(hue=3)
