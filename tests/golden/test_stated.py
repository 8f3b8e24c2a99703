"""Goldens state their own numbers and name their own files; other goldens state others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.golden import check
from tests.golden.adapters import gated_crf, huberised_ce
from tests.golden.compare import compare_digests
from tests.golden.stated import numbers
from tests.metrics import reference
from thriftseg.taxonomies import CITYSCAPES

HERE = Path(__file__).parent / "metrics"
VOID = 4
IDS = [7, 8, 26, 11, 0]
"""Ids of Cityscapes for those of the maps."""


def shift(ids: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Move a map; its border is repeated."""
    height, width = ids.shape
    padded = np.pad(ids, 9, mode="edge")
    return padded[9 - dy : 9 - dy + height, 9 - dx : 9 - dx + width]


def smallest(ids: np.ndarray) -> np.ndarray:
    """Smallest id in 5x5 pixels, which is that of 3x3 pixels twice."""
    height, width = ids.shape
    padded = np.pad(ids, 2, mode="edge")
    return np.min([padded[y : y + height, x : x + width] for y in range(5) for x in range(5)], axis=0)


@pytest.fixture
def maps(tmp_path: Path) -> list[np.ndarray]:
    """Two true maps, stored where the goldens below expect them."""
    rng = np.random.default_rng(7)
    (tmp_path / "street/gt").mkdir(parents=True)
    drawn = [rng.integers(0, 5, (6, 8)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1) for _ in range(2)]
    for index, ids in enumerate(drawn):
        Image.fromarray(ids).save(tmp_path / f"street/gt/{index}.png")
    return drawn


def digest(ids: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids).tobytes()).hexdigest()


def cityscapes_case(name: str, words: tuple[str, str], pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """A case of the Cityscapes golden for pairs of true and predicted maps of Cityscapes ids."""
    matrix = sum(reference.confusion(CITYSCAPES.to_train_ids(p), CITYSCAPES.to_train_ids(t), 19) for t, p in pairs)
    iou, groups = reference.iou_per_class(matrix), [row.category for row in CITYSCAPES.classes]
    accuracy = [int(matrix[c, c]) / int(matrix[c].sum()) if matrix[c].any() else None for c in range(19)]
    categories = {}
    for group in dict.fromkeys(groups):
        member = [c for c in range(19) if groups[c] == group]
        hits, truth = matrix[np.ix_(member, member)].sum(), matrix[member].sum()
        union = truth + matrix[:, member].sum() - hits
        categories[group] = int(hits) / int(union) if union else None
    scores = reference.scores(matrix)
    return {
        "id": name,
        "inputs": dict(zip(("gt", "pred"), words, strict=True)),
        "sha256_gt_ids": [digest(t) for t, _ in pairs],
        "sha256_pred_ids": [digest(p) for _, p in pairs],
        "class_iou": dict(zip(CITYSCAPES.class_names, iou, strict=True)),
        "mIoU": scores["miou"],
        "category_iou": categories,
        "category_mIoU": reference.mean(list(categories.values())),
        "derived_from_official_matrix": {
            "class_accuracy": dict(zip(CITYSCAPES.class_names, accuracy, strict=True)),
            "mAcc": scores["macc"],
            "pixel_accuracy": scores["pixel_accuracy"],
        },
    }


def test_other_shifts_of_the_cityscapes_scores(tmp_path: Path, maps: list[np.ndarray]):
    to_ids = np.array(IDS, np.uint8)
    moved = [(to_ids[ids], to_ids[shift(ids, -3, 1)]) for ids in maps]
    filtered = [(to_ids[ids], to_ids[shift(smallest(ids), 2, -1)]) for ids in maps]
    painted = [(truth, pred.copy()) for truth, pred in filtered]
    for _, pred in painted:
        pred[2:6] = 27
    words = f"street/gt, id -> Cityscapes id by list position: {IDS}"
    golden = {
        "what": "Cityscapes pixel-level IoU reference values",
        "files": ["0.png", "1.png"],
        "cases": [
            cityscapes_case("moved", (words, "shift rule of other.json (dy,dx)=(-3, 1), same list"), moved),
            cityscapes_case("filtered", (words, "minfilter rule of other.json, same list"), filtered),
            cityscapes_case("painted", ("as case filtered", "as case filtered, then rows 2..5 = 27"), painted),
        ],
    }
    rule = {"pred minfilter": "minimum twice, then the clip-shift above with (dy,dx) = (2,-1)"}
    (tmp_path / "other.json").write_text(json.dumps({"camvid": {"inputs": rule}}))
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(golden))
    verdict = check.check_file(path)
    assert verdict.accepted, str(verdict)
    (tmp_path / "other.json").write_text(json.dumps({"camvid": {"inputs": {"pred minfilter": "(dy,dx) = (2,-2)"}}}))
    assert "filtered torch.uint8 pred 0.png" in str(check.check_file(path))


@pytest.mark.parametrize("variant", ["ignore_after", "ignore_before"])
def test_another_id_of_void_of_the_boundary_iou(tmp_path: Path, maps: list[np.ndarray], variant: str):
    pred = shift(maps[0], 1, -2)
    unscored = [np.where(ids == VOID, 255, ids) for ids in (maps[0], pred)]
    counts = reference.boundary_counts(unscored[1], unscored[0], VOID, 2, variant)
    iou = [int(both) / int(a + b - both) for both, a, b in counts.T]
    case = {
        "pred": "shift",
        "width": "2",
        "d_pixels": 2,
        "variant": variant,
        "counts_per_image": {"0.png": counts.T.tolist()},
        "accumulated_class_iou": iou,
        "accumulated_mean": np.mean(iou),
        "per_image_mean": [np.mean(iou)],
    }
    inputs = {
        "gt": f"street/gt/<file> (ids 0..{VOID}, {VOID} = void)",
        "pred shift": "clip(y-(1),0,H-1), clip(x-(-2),0)",
    }
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"what": "Boundary IoU", "camvid": {"inputs": inputs, "cases": [case]}}))
    verdict = check.check_file(path)
    assert verdict.accepted, str(verdict)


def test_other_factors_of_seeded_arrays():
    golden = json.loads((HERE / "gatedcrf.json").read_text())
    case = next(case for case in golden["cases"] if case["mask_src"] and "seed" in case["inputs"])
    changes = {"logits = 2*g": "logits = 3.5*g", "(s > 0.2)": "(s > 0.75)", "(d > 0.5)": "(d > 0.25)"}
    rule = case["inputs"]["rule"]
    for old, new in changes.items():
        assert old in rule
        rule = rule.replace(old, new)
    other = {**case, "mask_dst": True}
    other["inputs"] = {
        **case["inputs"],
        "rule": rule,
        "extra": "changed: [:,:,::2] = 0.5, [0,0,1,1] = NaN, [:,:,2] *= 4",
    }
    arrays = gated_crf.make_inputs(other, HERE)
    rng = np.random.Generator(np.random.PCG64(case["inputs"]["seed"]))
    exponents = np.exp(3.5 * rng.standard_normal(case["shape_y"]))
    np.testing.assert_allclose(arrays["y"], exponents / exponents.sum(axis=1, keepdims=True), rtol=1e-5)
    batch, _, height, width = case["shape_rgb"]
    rng.random((batch, 3, height, width))
    source, destination = (rng.random((batch, 1, height, width)) for _ in range(2))
    expected = (source > 0.75).astype(np.float32)
    expected[:, :, ::2] = 0.5
    expected[0, 0, 1, 1] = np.nan
    expected[:, :, 2] *= 4
    np.testing.assert_array_equal(arrays["mask_src"], expected)
    np.testing.assert_array_equal(arrays["mask_dst"], destination > 0.25)


def test_another_factor_of_the_logits():
    golden = json.loads((HERE / "huberised_ce.json").read_text())
    rule, case = golden["rule"]["inputs"], golden["cases"][0]
    plain = huberised_ce.make_inputs(case, rule)["logits"]
    larger = huberised_ce.make_inputs(case, rule.replace("2.5*g", "5*g"))["logits"]
    np.testing.assert_allclose(larger, 2 * plain, rtol=1e-6)


def test_words_without_the_number():
    assert numbers(r"(\d+) of (-?[\d.]+)", "3 of -0.5 things") == [3, -0.5]
    with pytest.raises(ValueError, match=r"found no .* in 'nothing'"):
        numbers(r"(\d+)", "nothing")


class TestLeftOut:
    """A golden without the files that belong to it is left out by name, whatever it could compare before."""

    def left_out(self, path: Path, golden: Any, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
        path.write_text(json.dumps(golden))
        assert check.main([str(path)]) == 1
        line = capsys.readouterr().out
        assert line.startswith(f"left out {path}: {missing}"), line
        assert "Error" not in line

    def stored(self, name: str) -> Any:
        return json.loads((HERE / f"{name}.json").read_text())

    def test_a_picture(self, tmp_path: Path, maps: list[np.ndarray], capsys: pytest.CaptureFixture[str]):
        pairs = [(np.array(IDS, np.uint8)[ids],) * 2 for ids in maps]
        words = (f"street/gt {IDS}", "shift (dy,dx)=(0, 0), same list")
        golden = {"what": "Cityscapes pixel-level IoU", "files": ["0.png", "1.png"]}
        golden["cases"] = [cityscapes_case("still", words, pairs)]
        (tmp_path / "street/gt/1.png").unlink()
        missing = "street/gt/1.png is missing beside it; the rest is left out, after 2 comparisons: largest"
        self.left_out(tmp_path / "golden.json", golden, missing, capsys)
        golden["cases"][0]["sha256_gt_ids"][0] = "another"  # what deviates before counts
        (tmp_path / "golden.json").write_text(json.dumps(golden))
        assert str(check.check_file(tmp_path / "golden.json")).startswith("FAIL")

    @pytest.mark.parametrize("keep", [0, 1])
    def test_a_frame(self, tmp_path: Path, maps: list[np.ndarray], capsys: pytest.CaptureFixture[str], keep: int):
        (tmp_path / "street/pred").mkdir()
        for index in range(keep):
            Image.fromarray(maps[index]).save(tmp_path / f"street/pred/{index}.png")
        inputs = {"gt": "<sequence>/gt/%d.png", "pred": "<sequence>/pred/%d.png"}
        case = {"id": "a", "inputs": inputs, "task": "unsupervised", "per_object": {"street_1": {}}, "global": {}}
        golden = {"what": "DAVIS 2017 J and F reference values", "cases": [case]}
        self.left_out(tmp_path / "golden.json", golden, f"street/pred/{keep}.png is missing beside it", capsys)

    def test_a_file_of_arrays(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        missing = "tc_sequences.npz is missing beside it"
        self.left_out(tmp_path / "golden.json", self.stored("temporal_consistency"), missing, capsys)

    def test_an_array(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        golden = self.stored("temporal_consistency")
        first = golden["per_sequence"][0]["sequence"]
        with np.load(HERE / golden["inputs"]["file"]) as arrays:
            kept = {name: arrays[name] for name in arrays if name != f"seq{first}_pred"}
        np.savez(tmp_path / golden["inputs"]["file"], **kept)
        missing = f"array seq{first}_pred is missing in {golden['inputs']['file']}"
        self.left_out(tmp_path / "golden.json", golden, missing, capsys)

    def test_a_gradient(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        golden = self.stored("gatedcrf")
        golden["cases"] = [next(case for case in golden["cases"] if "npz" in case)]
        missing = f"{golden['cases'][0]['npz']} is missing beside it; the rest is left out, after "
        self.left_out(tmp_path / "golden.json", golden, missing, capsys)

    def test_a_digest_of_an_array_that_is_not_made(self):
        (deviation,) = compare_digests("case", {"y": np.zeros(2)}, {"mask": "0"})
        assert (deviation.where, deviation.accepted) == ("case mask: not made", False)

    def test_the_golden_itself(self, tmp_path: Path):
        assert "no JSON file" in str(check.check_file(tmp_path / "golden.json"))
