from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from thriftseg.errors import CheckpointError, ConfigError, LabelStoreError
from thriftseg.reports import RunScores, find_runs, keep_runs, read_kept_runs, read_run, write_scores
from thriftseg.reports.run_scores import read_labels, read_score_file, read_tests


def write(path: Path, metrics: dict[str, float | None], **training: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": "thriftseg fit", "network_sha256": None, "training": training, "metrics": metrics}
    path.write_text(json.dumps(content))


def test_runs_of_a_config_are_told_from_those_of_longer_names(tmp_path: Path) -> None:
    for name in ("tmanet_b3", "tmanet_b3-seed1", "tmanet_b3-gpu-2", "tmanet_b3s", "tmanet_b3_moving", "a_tmanet_b3"):
        (tmp_path / name).mkdir()
    (tmp_path / "tmanet_b3-notes").write_text("no folder")
    assert [path.name for path in find_runs(tmp_path, "tmanet_b3")] == [
        "tmanet_b3",
        "tmanet_b3-gpu-2",
        "tmanet_b3-seed1",
    ]
    assert find_runs(tmp_path, "tmanet_b5") == []


def test_test_scores_come_before_those_of_validation_and_of_training(tmp_path: Path) -> None:
    write(
        tmp_path / "fit.json", {"val/miou": 0.5, "cost/hours": 3.5, "train/loss": 1.0}, steps=9, scored_step=9, seed=4
    )
    run = read_run(tmp_path)
    assert run is not None
    assert (run.kind, run.scores, run.hours) == ("fit", {"miou": 0.5}, 3.5)
    assert (run.steps, run.scored_step, run.seed) == (9, 9, 4)

    write(tmp_path / "validate.json", {"val/miou": 0.6, "val/iou/car": None}, steps=6, scored_step=6)
    write(tmp_path / "test.json", {"test/miou": 0.7, "val/miou": 0.1})
    tested, validated = read_run(tmp_path), read_run(tmp_path, ["validate"])
    assert tested is not None
    assert validated is not None
    assert (tested.kind, tested.scores, tested.steps, tested.scored_step) == ("test", {"miou": 0.7}, 9, None)
    assert (validated.kind, validated.scores["miou"], validated.steps, validated.scored_step) == ("validate", 0.6, 9, 6)
    assert math.isnan(validated.scores["iou/car"])
    assert validated.seed == 4


def test_a_folder_without_scores_is_no_finished_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert read_run(tmp_path) is None
    write(tmp_path / "fit.json", {"val/miou": 0.5})
    assert read_run(tmp_path, ["test"]) is None


def test_scores_of_a_version_that_did_not_count_steps(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text('{"command": "thriftseg test", "network_sha256": "ab", "metrics": {"test/miou": 0.25}}')
    file = read_score_file(path)
    assert (file.steps, file.seed, file.network_sha256, file.metrics) == (None, None, "ab", {"test/miou": 0.25})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ('{"command": "x", "metr', "is not JSON"),
        ("[1, 2]", "malformed at $; expected object; found a list of 2"),
        ('{"metrics": {}}', "malformed at $; expected an entry command"),
        ('{"command": "x", "network_sha256": null, "metrics": [0.5]}', "malformed at $.metrics; expected object"),
        (
            '{"command": "x", "network_sha256": null, "metrics": {"val/miou": "high"}}',
            "malformed at $.metrics['val/miou']; expected float | null; found 'high'",
        ),
        ("\0\xff", "is not JSON; found byte 0xff at position 1, which is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "validate.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        read_run(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "fix: delete it, and run its command again" in str(caught.value)


def test_tests_on_other_data_lie_within_the_run(tmp_path: Path) -> None:
    write(tmp_path / "fit.json", {"val/jf": 0.4, "cost/hours": 2.5}, steps=9, scored_step=6, seed=4)
    assert read_tests(tmp_path, ["davis", "youtube_vos"]) is None
    write(tmp_path / "davis" / "test.json", {"test/jf": 0.7}, steps=9, scored_step=9)
    write(tmp_path / "other" / "test.json", {"test/jf": 0.1})
    run = read_tests(tmp_path, ["davis", "youtube_vos"])
    assert run is not None
    assert (run.scores, run.kind, run.hours) == ({"davis/jf": 0.7}, "test", 2.5)
    assert (run.steps, run.scored_step, run.seed) == (9, 9, 4)
    write(tmp_path / "youtube_vos" / "test.json", {"test/overall": 0.75, "test/jf": 0.6})  # of a server
    run = read_tests(tmp_path, ["davis", "youtube_vos"], ["test"])
    assert run is not None
    assert run.scores == {"davis/jf": 0.7, "youtube_vos/overall": 0.75, "youtube_vos/jf": 0.6}
    assert read_tests(tmp_path, ["davis"], ["validate"]) is None


def test_the_quality_of_labels(tmp_path: Path) -> None:
    quality = {"j_mean": 0.8, "recall_50": 0.9, "recall_70": 0.7, "masks": 12}
    content = {"manual": 3, "quality": quality, "cost": {"seconds": 12 * 7 + 3 * 80, "boxes": 12, "masks": 3}}
    assert read_labels(tmp_path) is None
    (tmp_path / "quality.json").write_text(json.dumps(content))
    labels = read_labels(tmp_path)
    assert labels is not None
    assert labels.scores == {"mean_j": 0.8, "recall_50": 0.9, "recall_70": 0.7}
    assert (labels.kind, labels.masks, labels.hours, labels.steps) == ("quality", 3, pytest.approx(0.09), None)
    (tmp_path / "quality.json").write_text(json.dumps(content | {"quality": None}))
    unknown = read_labels(tmp_path)
    assert unknown is not None
    assert unknown.scores == {}
    (tmp_path / "quality.json").write_text('{"manual": 3}')
    with pytest.raises(LabelStoreError, match=r"quality\.json: malformed at \$; expected an entry cost"):
        read_labels(tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder of runs"):
        find_runs(tmp_path / "nowhere", "tmanet_b3")


def test_scores_of_a_trainer_are_written_and_read(tmp_path: Path) -> None:
    model = SimpleNamespace(network=None, results={"confusion": np.array([[3, 1], [0, 2]])})
    trainer = SimpleNamespace(lightning_module=model, callback_metrics={"val/miou": 0.5, "val/iou/car": math.nan})
    write_scores(tmp_path / "fit.json", "python train.py", trainer, steps=7, scored_step=5, seed=3)
    run = read_run(tmp_path)
    assert run is not None
    assert (run.kind, run.steps, run.scored_step, run.seed) == ("fit", 7, 5, 3)
    assert run.scores["miou"] == 0.5
    assert math.isnan(run.scores["iou/car"])
    assert (tmp_path / "fit_confusion.csv").read_text() == "3,1\n0,2\n"


def test_kept_runs_come_back_but_for_scores_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    run = RunScores(
        tmp_path, "fit", {"miou": 0.51237, "iou/car": 0.5, "davis/jf": 0.25, "tc": math.nan}, 2.5, 300, 300, 7
    )
    keep_runs(path, {"N1": [run, run], "B3": []})
    kept = RunScores(path, "kept", {"miou": 0.5124, "davis/jf": 0.25}, hours=2.5, steps=300, seed=7)
    assert read_kept_runs(path) == {"N1": [kept, kept]}
    keep_runs(path, {"random": [RunScores(tmp_path, "curve", {"jf": 0.5, "hours_at_85": math.inf})]})
    assert read_kept_runs(path)["random"][0].scores == {"jf": 0.5, "hours_at_85": math.inf}
    path.write_text('{"students": [{"name": "a", "hours": "many"}]}')
    with pytest.raises(CheckpointError, match=r"kept\.json: malformed at \$\.hours; expected .* found 'many'"):
        read_kept_runs(path)
