"""Every metric and loss equals its reference on the goldens, and the checker notices when it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.golden import check
from thriftseg.losses import gated_crf
from thriftseg.metrics import boundary_iou

HERE = Path(__file__).parent / "metrics"
ON_REAL_VIDEO = ("boundary_iou", "cityscapes_miou", "davis_jf", "gatedcrf", "huberised_ce", "temporal_consistency")


@pytest.mark.parametrize("path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem)
def test_golden(path: Path):
    verdict = check.check_file(path)
    assert verdict.accepted, str(verdict)


@pytest.mark.parametrize("name", ON_REAL_VIDEO)
def test_golden_on_real_video(reference_golden: Callable[[str], Path], name: str):
    verdict = check.check_file(reference_golden(name))
    if verdict.left_out:
        pytest.skip(str(verdict))
    assert verdict.accepted, str(verdict)


class TestMistakes:
    """Mistakes that porting such measures invites; each must fail."""

    def failing(self, name: str) -> list[str]:
        verdict = check.check_file(HERE / f"{name}.json")
        assert verdict.problem is None
        return [entry.where for entry in verdict.deviations if not entry.accepted]

    def test_neighbours_beyond_the_border_left_out_of_gated_crf(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(gated_crf, "_border_affinity", lambda image, *_: image[:, :1] * 0)
        failing = self.failing("gatedcrf")
        assert any("radius1 loss" in where for where in failing)
        assert not any("gradient" in where for where in failing)

    def test_fractional_masks_kept_in_gated_crf(self, monkeypatch: pytest.MonkeyPatch):
        def keep(mask, like, name):
            return None if mask is None else mask.nan_to_num(0).to(like)

        monkeypatch.setattr(gated_crf, "_gate", keep)
        assert any("fractional_and_nan" in where for where in self.failing("gatedcrf"))

    def test_the_image_border_is_no_boundary(self, monkeypatch: pytest.MonkeyPatch):
        padded = boundary_iou._code_with_interior

        def without_border(label, d):
            code = padded(label, d)
            code[:d] |= 1
            return code

        monkeypatch.setattr(boundary_iou, "_code_with_interior", without_border)
        assert any("boundary ignore_after 1" in where for where in self.failing("seeded_scenes"))

    def test_an_unknown_golden_fails(self, tmp_path: Path):
        path = tmp_path / "golden.json"
        path.write_text(json.dumps({"what": "something else"}))
        assert check.check_file(path).problem == "ValueError: unknown format"
