"""The whole loop on a video of a moving square and a still disc."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures.square_and_disc import FRAMES, GROUND, HEIGHT, WIDTH, SquareFlow, truth, write_video
from tests.fixtures.two_layers import TwoLayers
from tests.lightning_modules.objectives.preset import tuned
from thriftseg.annotation import FilesAnnotator, HVSAResult, HVSASettings, PolygonAnnotator, annotate_hvsa
from thriftseg.annotation.hvsa import folder, loop
from thriftseg.datamodules import VideoPairDataModule
from thriftseg.datasets import Folder
from thriftseg.datasets.images import read_label_png, write_label_png
from thriftseg.errors import ConfigError, WaitingForLabels
from thriftseg.stores.label_store import LabelStore, rows_equal

PIXELS = HEIGHT * WIDTH
Annotate = Callable[..., HVSAResult]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_video(tmp_path_factory.mktemp("hvsa") / "data")


@pytest.fixture
def annotate(video: Folder, tmp_path: Path) -> Annotate:
    def run(
        out: str = "run",
        annotator: Any = None,
        dataset: Folder = video,
        weight: float = 1.0,
        resize: tuple[int, int] | None = None,
        **settings: Any,
    ) -> HVSAResult:
        module = tuned(
            TwoLayers(3),
            consistency_weight=weight,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        )
        data = VideoPairDataModule(
            dataset, "val", flow=SquareFlow(), flow_cache=tmp_path / out / "flow", seed=0, progress=False, resize=resize
        )
        plain = {"rounds": 2, "epochs": 2, "budget": "34%"}
        person = annotator or PolygonAnnotator(lambda _, number: truth(number))
        return annotate_hvsa(
            module, data, person, tmp_path / out, HVSASettings(**(plain | settings)), accelerator="cpu"
        )

    return run


def labels_of(result: HVSAResult, dataset: Folder, source: str = "hvsa") -> LabelStore:
    return LabelStore(result.store, source, dataset.taxonomy)


@pytest.mark.slow
def test_learns_the_video_from_a_few_frames(annotate: Annotate, video: Folder) -> None:
    result = annotate(epochs=30, budget="50%", rounds=3)
    before, *_, after = [row["scores"]["miou"] for row in result.rounds]
    assert [row["round"] for row in result.rounds] == [0, 1, 2, 3]
    assert after > 0.8 > 0.5 > before
    assert result.rounds[-1]["pasted"]["miou"] > 0.9  # polygons are not the truth either
    assert result.rounds[-1]["samples"] == 3
    assert result.rounds[-1]["share"]["pixels"] == 0.5
    store = labels_of(result, video)
    assert sorted(number for _, number in store.labels) == list(range(FRAMES))
    assert all(0.3 < row.confidence <= 1 for row in store.labels.values())
    bought = labels_of(result, video, "person")
    assert sum((row.cost for row in store.actions.values()), type(result.cost)()) == result.cost
    assert {row.parents for row in store.labels.values()} == {tuple(bought.actions)}
    for _, number in bought.labels:
        np.testing.assert_array_equal(store.read("street", number), bought.read("street", number))


def test_the_log_is_a_row_per_round(annotate: Annotate) -> None:
    result = annotate()
    rows = [json.loads(line) for line in (result.folder / "rounds.jsonl").read_text().splitlines()]
    assert rows == list(result.rounds)
    assert [row["samples"] for row in rows] == [0, 1, 2]
    assert rows[1]["pixels"] == PIXELS
    assert rows[2]["cost"]["clicks"] > rows[1]["cost"]["clicks"] > 0
    assert rows[2]["share"]["clicks"] == pytest.approx(1 / 3, abs=0.05)
    full = PolygonAnnotator(lambda _, number: truth(number)).full_cost(truth(number) for number in range(FRAMES))
    boundary, classes = (rows[2]["cost"][name] for name in ("clicks", "class_clicks"))
    assert rows[2]["share"]["boundary_clicks"] == pytest.approx(boundary / full.clicks, abs=1e-6)
    whole = (boundary + classes) / (full.clicks + full.class_clicks)
    assert rows[2]["share"]["clicks"] == pytest.approx(whole, abs=1e-6)
    assert set(rows[0]["scores"]) == {"miou", "pixel_accuracy", "boundary_iou", "tc"}


@pytest.mark.parametrize("unit", ["pixels", "clicks", "seconds", "samples"])
@pytest.mark.parametrize("granularity", ["rec16", "frame"])
def test_at_most_one_sample_above_the_budget(annotate: Annotate, unit: str, granularity: str) -> None:
    budget = {"pixels": "20%", "clicks": "20%", "seconds": "20%", "samples": "2"}[unit]
    result = annotate(unit=unit, granularity=granularity, budget=budget, strategy="random", epochs=1)
    cost = result.cost
    spent = {
        "pixels": result.rounds[-1]["pixels"],
        "clicks": cost.clicks + cost.class_clicks,
        "seconds": cost.seconds,
        "samples": result.rounds[-1]["samples"],
    }[unit]
    full = {"pixels": FRAMES * PIXELS, "samples": 10}
    person = PolygonAnnotator(lambda _, number: truth(number))
    drawn = person.full_cost(truth(number) for number in range(FRAMES))
    full |= {"clicks": drawn.clicks + drawn.class_clicks, "seconds": drawn.seconds}
    largest = PIXELS if granularity == "frame" else 256
    one = {"pixels": largest, "clicks": 30, "seconds": 45, "samples": 0}[unit]
    assert 0.2 * full[unit] - one <= spent <= 0.2 * full[unit] + one


@pytest.mark.parametrize("uncertainty", ["margin", "least_conf", "temporal"])
def test_other_ways_to_select(annotate: Annotate, uncertainty: str) -> None:
    result = annotate(uncertainty=uncertainty, strategy="uncertainty", granularity="rec16", epochs=1)
    assert result.rounds[-1]["samples"] == int(0.34 * FRAMES * 12)


def test_no_sample_is_bought_twice(annotate: Annotate, video: Folder) -> None:
    result = annotate(granularity="rec16", budget="60%", rounds=3, epochs=1)
    chosen = [
        tuple(sample[:2])
        for number in (1, 2, 3)
        for sample in json.loads((result.folder / f"round_{number}" / "selection.json").read_text())["samples"]
    ]
    assert len(set(chosen)) == len(chosen) == int(0.6 * FRAMES * 12)
    assert len(labels_of(result, video, "person").actions) == len(chosen)


def test_works_at_half_size_and_answers_at_full_size(annotate: Annotate, video: Folder) -> None:
    result = annotate(resize=(HEIGHT // 2, WIDTH // 2), epochs=20, paste_manual=False)
    assert labels_of(result, video).read("street", 0).shape == (HEIGHT, WIDTH)
    assert result.rounds[-1]["scores"]["miou"] > 0.5


class Stopped(RuntimeError):
    pass


@pytest.mark.parametrize("step", ["survey_video", "score_labels", "tune"])
@pytest.mark.parametrize("call", [1, 2])
def test_goes_on_where_it_was_stopped(
    annotate: Annotate, video: Folder, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    whole = annotate("whole")
    true, calls = getattr(loop, step), []

    def stop_before(*args: Any, **settings: Any) -> Any:
        calls.append(step)
        if len(calls) == call:
            raise Stopped
        return true(*args, **settings)

    monkeypatch.setattr(loop, step, stop_before)
    with pytest.raises(Stopped):
        annotate("stopped")
    monkeypatch.undo()
    again = annotate("stopped")
    assert again.rounds == whole.rounds
    for source in ("hvsa", "person"):
        assert rows_equal(labels_of(again, video, source), labels_of(whole, video, source))


def test_ends_the_same_if_every_process_dies_after_a_file(annotate: Annotate, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = annotate("whole", epochs=1)
    true, seen = folder.write_bytes, set()

    def write_and_die(path: Path, content: bytes) -> None:
        true(path, content)
        if (path, content) not in seen:
            seen.add((path, content))
            raise Stopped

    monkeypatch.setattr(folder, "write_bytes", write_and_die)
    for _ in range(8):  # a selection in two rounds, and two files at the end of each of three
        with pytest.raises(Stopped):
            annotate("dying", epochs=1)
    again = annotate("dying", epochs=1)
    assert again.rounds == whole.rounds
    files = [(result.folder / "rounds.jsonl").read_bytes() for result in (again, whole)]
    assert files[0] == files[1]


def test_a_finished_run_is_only_read(annotate: Annotate, monkeypatch: pytest.MonkeyPatch) -> None:
    first = annotate()
    monkeypatch.setattr(loop, "survey_video", None)
    monkeypatch.setattr(loop, "tune", None)
    assert annotate().rounds == first.rounds


def test_another_run_is_refused(annotate: Annotate) -> None:
    annotate(budget="0")
    with pytest.raises(ConfigError, match="holds a run with other settings; expected budget 5%; found budget 0"):
        annotate(budget="5%")


def test_without_a_budget_nothing_is_learned(annotate: Annotate) -> None:
    result = annotate(budget="0")
    assert [row["samples"] for row in result.rounds] == [0, 0, 0]
    assert result.rounds[0]["scores"] == result.rounds[2]["scores"]
    assert not list(result.folder.glob("round_*/tuning/round.ckpt"))


def test_a_video_of_one_frame(annotate: Annotate, tmp_path: Path) -> None:
    result = annotate(dataset=write_video(tmp_path / "single", frames=1), budget="100%", rounds=1)
    assert result.rounds[-1]["pasted"]["miou"] > 0.9
    assert result.rounds[-1]["scores"]["tc"] is None


def test_stops_at_its_target(annotate: Annotate) -> None:
    result = annotate(epochs=30, budget="100%", rounds=6, target_miou=0.6)
    assert 1 < len(result.rounds) < 7
    assert result.rounds[-1]["pasted"]["miou"] >= 0.6 > result.rounds[-2]["pasted"]["miou"]


def test_percent_of_clicks_needs_a_truth(annotate: Annotate, tmp_path: Path) -> None:
    dataset = write_video(tmp_path / "partly")
    (tmp_path / "partly/val/street/labels/000003.png").unlink()
    with pytest.raises(ConfigError, match="percent of an unknown amount"):
        annotate(dataset=dataset, unit="clicks")


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"epochs": 0}, {"granularity": "row"}, {"target_miou": 2.0}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        HVSASettings(**wrong)


def test_a_person_answers_between_the_rounds(annotate: Annotate, video: Folder, tmp_path: Path) -> None:
    def person() -> FilesAnnotator:
        read = lambda name, number: video.read_frame(video.clips("val")[0], number)  # noqa: E731
        return FilesAnnotator(tmp_path / "work", video.taxonomy, read, seconds_per_sample=40)

    for number in (1, 2):
        with pytest.raises(WaitingForLabels, match="1 of 1 regions are not labelled yet"):
            annotate(annotator=person())
        (path,) = (tmp_path / "work" / f"round_{number}" / "labels").rglob("*.png")
        assert (read_label_png(path) == 255).all()
        write_label_png(path, truth(int(path.stem.partition("_")[0])), video.taxonomy.flat_palette())
    result = annotate(annotator=person())
    assert result.cost.seconds == 80
    assert result.rounds[-1]["samples"] == 2
    frames = [number for _, number in labels_of(result, video, "person").labels]
    assert all((labels_of(result, video).read("street", n) == truth(n)).all() for n in frames)


def test_ground_alone_is_not_enough(annotate: Annotate) -> None:
    """Boundary-IoU and TC are those of the label maps that are kept."""
    result = annotate(budget="0")
    constant = result.rounds[0]["scores"]
    assert constant["tc"] is not None
    assert constant["miou"] <= (truth(0) == GROUND).mean()
