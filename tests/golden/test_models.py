"""Every network equals its authors' on the goldens, and the checker notices when it does not."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.golden import check, networks
from tests.golden.compare import Deviation, describe
from tests.golden.fill import RULE, fill, make_inputs
from thriftseg.zoo import Network, tmanet
from thriftseg.zoo.tdnet import blocks as tdnet_blocks
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.vos import stm
from thriftseg.zoo.weights.official import load_official

MODELS = Path(__file__).parent / "models"
SLOW = pytest.mark.slow
LARGE = {"td2_psp50", "stm_padded"}
GOLDENS = [
    pytest.param(path, id=path.stem, marks=SLOW if path.stem in LARGE or "official_size" in path.stem else ())
    for path in sorted(MODELS.glob("*.json"))
]


def read(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return golden


def write(golden: Any, folder: Path) -> Path:
    path = folder / "golden.json"
    path.write_text(json.dumps(golden))
    return path


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", GOLDENS)
def test_golden(path: Path):
    verdict = check.check_file(path)
    assert verdict.accepted, str(verdict)


class TestMistakes:
    """Mistakes that porting such networks invites; each must fail although everything else is right."""

    def failing(self, name: str) -> list[str]:
        verdict = check.check_file(MODELS / f"{name}.json")
        assert verdict.problem is None
        assert not verdict.accepted
        return [entry.where for entry in verdict.deviations if not entry.accepted]

    def test_scaled_scores_in_tmanet(self, monkeypatch: pytest.MonkeyPatch):
        attend = tmanet.attend
        monkeypatch.setattr(tmanet, "attend", lambda q, k, v: attend(q * q.shape[-1] ** -0.5, k, v))
        failing = self.failing("tmanet_r50")
        assert failing[0].startswith("seg/decode_head.memory_module")
        assert "logits sample" in failing
        assert "aux_logits sample" not in failing

    @pytest.mark.slow
    def test_unscaled_scores_in_tdnet(self, monkeypatch: pytest.MonkeyPatch):
        propagate = tdnet_blocks.Propagation.forward
        monkeypatch.setattr(tdnet_blocks.Propagation, "forward", lambda self, q, k, v: propagate(self, 8 * q, k, v))
        failing = self.failing("td4_psp18")
        assert "logits_t3 sample" in failing
        assert "logits_t2 sample" not in failing  # no attention yet

    @pytest.mark.slow
    def test_unscaled_scores_in_stm(self, monkeypatch: pytest.MonkeyPatch):
        read_memory = stm.MemoryReader.forward

        def unscaled(self: stm.MemoryReader, query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return read_memory(self, query * query.shape[1] ** 0.5, *args, **kwargs)

        monkeypatch.setattr(stm.MemoryReader, "forward", unscaled)
        failing = self.failing("stm_padded")
        assert "logit1 sample" in failing
        assert "segment2/Encoder_Q.r4 sample" not in failing

    def test_exchanged_weights(self, monkeypatch: pytest.MonkeyPatch):
        """Names must lead to the right places: entries of equal shapes are not interchangeable."""

        def exchanged(*args: Any) -> dict[str, Tensor]:
            weights = fill(*args)
            first, second = "mask_branch.layer1.0.bn1.weight", "mask_branch.layer1.0.bn2.weight"
            weights[first], weights[second] = weights[second], weights[first]
            return weights

        golden = read("actor_critic_resnet18_a2")
        del golden["fill_probes"]
        monkeypatch.setattr(networks, "fill", exchanged)
        assert any(not entry.accepted for entry in check.check(golden, Path()))


class Scorer(Network):
    """The smallest network that a golden can be of."""

    kind = "test"

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.convolution(frames)).mean(dim=(2, 3))

    def official_key(self, key: str) -> str | None:
        return key.replace("conv.", "convolution.").replace("bn.", "norm.")


SCORER = SimpleNamespace(
    __name__="scorer",
    MODELS=("scorer",),
    build=lambda config, shapes: Scorer(),
    run=lambda network, inputs, golden: {"logits": network(inputs["frames"])},
)


def scorer_golden() -> dict[str, Any]:
    kinds = {"weight": "norm_w", "bias": "norm_b", "running_mean": "bn_mean", "running_var": "bn_var"}
    entries = [("conv.weight", [6, 3, 3, 3], "w"), ("conv.bias", [6], "b")]
    entries += [(f"bn.{name}", [6], kind) for name, kind in kinds.items()] + [("bn.num_batches_tracked", [], "bn_nbt")]
    rule = {"rule": RULE, "salt": "", "gains": [[r"conv\..*", 0.5]], "n_gained": 2}
    golden: dict[str, Any] = {
        "model": "scorer",
        "config": {},
        "keys": [[name, shape] for name, shape, _ in entries],
        "kinds": [kind for *_, kind in entries],
        "fill": rule,
        "inputs": [
            {"name": "frames", "seed": 1, "shape": [2, 3, 20, 30], "kind": "blocks", "dtype": "float32"},
            {"name": "labels", "seed": 2, "shape": [2, 20, 30], "kind": "labels", "n": 1, "dtype": "int64"},
        ],
    }
    weights, inputs = fill(golden["keys"], golden["kinds"], rule), make_inputs(golden["inputs"])
    golden["fill_probes"] = {
        "first4": {"conv.weight": weights["conv.weight"].flatten()[:4].tolist()},
        "abs_sum_all": sum(float(value.double().abs().sum()) for value in weights.values()),
    }
    frames, labels = golden["inputs"]
    frames["probe_first4"] = inputs["frames"].flatten()[:4].tolist()
    frames["probe_mean"] = float(inputs["frames"].double().mean())
    labels["probe_hist"] = inputs["labels"].flatten().bincount().tolist()
    network = Scorer().eval()
    load_official(network, weights)
    with torch.inference_mode():
        logits = network(inputs["frames"])
    golden["outputs"] = [{"name": "logits", "role": "final", **describe(logits)}]
    golden["predicted_bin"] = logits.argmax(1).tolist()
    return golden


class TestRefusals:
    """What the checker does with goldens that it cannot or must not accept."""

    @pytest.fixture
    def golden(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setattr(check, "load_adapters", lambda: ([SCORER], []))
        return scorer_golden()

    def verdict(self, golden: Any, folder: Path) -> check.Verdict:
        return check.check_file(write(golden, folder))

    def test_right_golden(self, golden: dict[str, Any], tmp_path: Path):
        verdict = self.verdict(golden, tmp_path)
        assert verdict.accepted
        assert len(verdict.deviations) == 14

    @pytest.mark.parametrize(("amount", "accepted"), [(0.5, True), (1.5, False), (math.nan, False)])
    @pytest.mark.parametrize("statistic", ["sample", "proj"])
    def test_perturbed_number(
        self, golden: dict[str, Any], tmp_path: Path, statistic: str, amount: float, accepted: bool
    ):
        (row,) = golden["outputs"]
        row[statistic][1] += amount * (5e-4 * row["std"] + 1e-4 * abs(row[statistic][1]))
        verdict = self.verdict(golden, tmp_path)
        assert verdict.accepted == accepted
        assert f"at logits {statistic}" in str(verdict)

    def test_missing_output(self, golden: dict[str, Any], tmp_path: Path):
        golden["outputs"].append({**golden["outputs"][0], "name": "entropy"})
        assert "entropy: not returned" in str(self.verdict(golden, tmp_path))

    def test_unknown_tap_is_left_out(self, golden: dict[str, Any], tmp_path: Path):
        golden["outputs"].append({**golden["outputs"][0], "name": "inner", "role": "tap"})
        assert self.verdict(golden, tmp_path).accepted

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda g: g.update(temperature=2), "golden has unknown key temperature"),
            (lambda g: g["fill"].update(rounds=2), "fill has unknown key rounds"),
            (lambda g: g["fill_probes"].update(median=2), "fill_probes has unknown key median"),
            (lambda g: g["inputs"][0].update(scale=2), "input frames has unknown key scale"),
            (lambda g: g["outputs"][0].update(median=2), "output logits has unknown key median"),
            (lambda g: g["outputs"][0].update(role="hint"), "output logits: unknown role 'hint'"),
            (lambda g: g["outputs"][0].update(role="tap"), "golden has no final output"),
            (lambda g: g["fill"].update(rule="md5"), "unknown fill rule 'md5'"),
            (lambda g: g["kinds"].__setitem__(0, "embedding"), "unknown kind of entry 'embedding'"),
            (lambda g: g["inputs"][0].update(kind="noise"), "unknown kind of input 'noise'"),
            (lambda g: g.pop("keys"), "golden lacks keys"),
            (lambda g: g["keys"][1].__setitem__(0, "convolutions.bias"), "left over: convolutions.bias"),
            (lambda g: (g["keys"].pop(1), g["kinds"].pop(1)), "missing: convolution.bias"),
            (lambda g: g["kinds"].pop(1), "shorter"),
            (lambda g: g.update(model="scorer2"), "unknown model 'scorer2', expected one of scorer"),
        ],
    )
    def test_unknown_things(
        self, golden: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], object], problem: str
    ):
        change(golden)
        verdict = self.verdict(golden, tmp_path)
        assert not verdict.accepted
        assert problem in str(verdict)
        assert len(str(verdict).splitlines()) == 1

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            (lambda g: g["fill_probes"]["first4"]["conv.weight"].__setitem__(0, 0.5), "weights of conv.weight"),
            (lambda g: g["fill_probes"].update(abs_sum_all=1.0), "sum of all weights"),
            (lambda g: g["fill"].update(n_gained=3), "entries with a gain 2, expected 3"),
            (lambda g: g["fill"].update(salt="pepper"), "weights of conv.weight"),
            (lambda g: g["inputs"][0].update(probe_mean=0.5), "input frames mean"),
            (lambda g: g["inputs"][0]["probe_first4"].__setitem__(2, 0.5), "input frames"),
            (lambda g: g["inputs"][1].update(probe_hist=[600, 600]), "input labels histogram"),
            (lambda g: g["inputs"][1].update(dtype="int32"), "input labels type int64, expected int32"),
            (lambda g: g.update(predicted_bin=[9, 9]), "predicted bin"),
        ],
    )
    def test_probes_count(
        self, golden: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], object], where: str
    ):
        change(golden)
        verdict = self.verdict(golden, tmp_path)
        assert not verdict.accepted
        assert where in next(entry for entry in verdict.deviations if not entry.accepted).where

    def test_two_adapters_for_one_model(self, golden: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(check, "load_adapters", lambda: ([SCORER, SCORER], []))
        assert "served by scorer and scorer" in str(self.verdict(golden, tmp_path))

    def test_format_of_an_adapter_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        counting = SimpleNamespace(
            __name__="counting",
            serves=lambda golden: "count" in golden,
            check=lambda golden, path: [Deviation(path.name, abs(golden["count"] - 3) / 2)],
        )
        monkeypatch.setattr(check, "load_adapters", lambda: ([SCORER, counting], []))
        assert self.verdict({"count": 4}, tmp_path).accepted
        assert "largest deviation 1.500 of the tolerance, at golden.json" in str(self.verdict({"count": 6}, tmp_path))

    @pytest.mark.parametrize("content", [{}, [], {"what": "something"}, 3])
    def test_unknown_format(self, content: object, tmp_path: Path):
        assert "unknown format" in str(self.verdict(content, tmp_path))

    def test_no_golden(self, tmp_path: Path):
        (tmp_path / "noise.json").write_bytes(b"\xff\x00{")
        assert "no JSON file" in str(check.check_file(tmp_path / "noise.json"))
        assert "No such file" in str(check.check_file(tmp_path / "absent.json"))
        (tmp_path / "empty").mkdir()
        assert [verdict.accepted for verdict in check.check_all([tmp_path / "empty"])] == [False]


def make(golden: dict[str, Any]) -> dict[str, Any]:
    """Record what our network returns for the weights and inputs of a golden."""
    (adapter,) = (entry for entry in check.load_adapters()[0] if golden["model"] in getattr(entry, "MODELS", ()))
    weights = fill(golden["keys"], golden["kinds"], golden["fill"])
    with Undrawn():
        network = adapter.build(golden["config"], {name: tuple(value.shape) for name, value in weights.items()}).eval()
    load_official(network, weights)
    with torch.inference_mode():
        outputs = adapter.run(network, make_inputs(golden["inputs"]), golden)
    finals = {name: value for name, value in outputs.items() if "/" not in name}
    rows = [{"name": name, "role": "final", **describe(value)} for name, value in finals.items()]
    return {**golden, "outputs": rows}


def varied(name: str, salt: str = "other:") -> dict[str, Any]:
    """A golden without its recorded numbers, with other weights and inputs."""
    golden = copy.deepcopy(read(name))
    for section in ("fill_probes", "predicted_bin", "attention", "sensitivity"):
        golden.pop(section, None)
    golden["fill"] = {"rule": golden["fill"]["rule"], "salt": salt, "gains": golden["fill"]["gains"]}
    fields = ("name", "seed", "shape", "kind", "n")
    golden["inputs"] = [{field: row[field] for field in fields if field in row} for row in golden["inputs"]]
    for row in golden["inputs"]:
        row["seed"] += 77
    return golden


def resize(golden: dict[str, Any], height: int, width: int) -> None:
    for row in golden["inputs"]:
        row["shape"][-2:] = height, width


def replace_shapes(golden: dict[str, Any], suffix: str, change: Callable[[list[int]], list[int]]) -> None:
    for row in golden["keys"]:
        if row[0].endswith(suffix):
            row[1] = change(row[1])


def tmanet_with_four_frames() -> dict[str, Any]:
    golden = varied("tmanet_r50")
    golden["config"].update(sequence_num=4, num_classes=12, align_corners=False)
    rows = list(zip(golden["keys"], golden["kinds"], strict=True))
    for (name, shape), kind in rows:
        stem, _, rest = name.partition("_conv.")
        if "decode_head.memory_" in name:
            stage, position, entry = rest.split(".", 2)
            golden["keys"].append([f"{stem}_conv.{stage}.{int(position) + 2}.{entry}", shape])
            golden["kinds"].append(kind)
    replace_shapes(golden, "conv_seg.weight", lambda shape: [12, *shape[1:]])
    replace_shapes(golden, "conv_seg.bias", lambda _: [12])
    template = golden["inputs"][-1]
    golden["inputs"] += [{**copy.deepcopy(template), "name": f"memory{i}", "seed": 5000 + i} for i in (2, 3)]
    resize(golden, 49, 65)
    return golden


def td4_from_another_path() -> dict[str, Any]:
    golden = varied("td4_psp18")
    golden["config"].update(start_path=2, num_classes=11, layer_norm_shape=[9, 13])
    for entry in ("ln.weight", "ln.bias"):
        replace_shapes(golden, entry, lambda _: [9, 13])
    replace_shapes(golden, "conv5.4.weight", lambda shape: [11, *shape[1:]])
    replace_shapes(golden, "conv5.4.bias", lambda _: [11])
    golden["inputs"] = golden["inputs"][:5]
    resize(golden, 65, 97)
    return golden


def stm_with_three_objects() -> dict[str, Any]:
    golden = varied("stm")
    golden["config"].update(K=5, num_objects=3)
    frames = [row for row in golden["inputs"] if row["name"].startswith("frame")]
    golden["inputs"].append({**copy.deepcopy(frames[0]), "name": f"frame{len(frames)}", "seed": 42})
    next(row for row in golden["inputs"] if row["name"] == "labels0")["n"] = 3
    resize(golden, 50, 72)
    return golden


def policy_with_cost() -> dict[str, Any]:
    golden = varied("actor_critic_resnet18_a3")
    golden["config"].update(out_dim=4)
    replace_shapes(golden, "policy.weight", lambda shape: [4, *shape[1:]])
    replace_shapes(golden, "policy.bias", lambda _: [4])
    return golden


@pytest.mark.parametrize(
    ("vary", "shapes"),
    [
        (tmanet_with_four_frames, {"logits": [1, 12, 49, 65], "aux_logits": [1, 12, 7, 9]}),
        pytest.param(td4_from_another_path, {f"logits_t{t}": [1, 11, 65, 97] for t in range(5)}, marks=SLOW),
        (stm_with_three_objects, {"logit3": [1, 5, 50, 72], "key2": [1, 5, 128, 1, 4, 5]}),
        (policy_with_cost, {"policy_logits": [2, 4], "value": [2, 1]}),
    ],
)
def test_other_goldens(vary: Callable[[], dict[str, Any]], shapes: dict[str, list[int]], tmp_path: Path):
    """Goldens of other class counts, sizes, frame counts, numbers of objects, salts and seeds are evaluated, too."""
    golden = make(vary())
    recorded = {row["name"]: row["shape"] for row in golden["outputs"]}
    assert recorded.items() >= shapes.items()
    assert check.check_file(write(golden, tmp_path)).accepted


@pytest.mark.slow
def test_command_line_in_any_folder(tmp_path: Path):
    wrong = read("actor_critic_resnet18_a2")
    wrong["outputs"][-1]["mean"] += 1
    paths = [str(MODELS / "actor_critic_resnet18_a2.json"), str(write(wrong, tmp_path))]
    command = [sys.executable, check.__file__, *paths]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    first, second = outcome.stdout.splitlines()
    assert first.startswith(f"ok   {paths[0]}: largest deviation 0.0")
    assert second.startswith(f"FAIL {paths[1]}: largest deviation")
    assert "at value mean" in second


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check, "load_adapters", lambda: ([SCORER], []))
    path = str(write(scorer_golden(), tmp_path))
    assert check.main([path]) == 0
    assert check.main([path, str(tmp_path / "absent.json")]) == 1
    assert check.main([str(tmp_path)]) == 0
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["ok  ", "ok  ", "FAIL", "ok  "]
