from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from thriftseg.drawing import CORRECT_COLOR, WRONG_COLOR
from thriftseg.errors import ConfigError
from thriftseg.lightning_modules import PredictionImages, default_progress_bar

FRAME = "0016E5_07959/007961"


def test_csv_runs_get_png_files(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    trainer = build_trainer(
        max_epochs=4,
        limit_train_batches=1,
        logger=CSVLogger(tmp_path, name=""),
        callbacks=[PredictionImages(frames=[0, FRAME], every_n_epochs=2)],
    )
    trainer.fit(build_module(), build_data())
    folder = tmp_path / "version_0" / "predictions"
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert written == [f"0016E5_07959/{frame}/{step:07d}.png" for frame in ("007959", "007961") for step in (1, 3)]
    picture = np.asarray(Image.open(folder / written[0]))
    assert picture.shape[0] >= 64
    assert picture.shape[1] >= 3 * 128
    error = picture[:, -128:].reshape(-1, 3)
    painted = [(error == color).all(1).mean() for color in (CORRECT_COLOR, WRONG_COLOR)]
    assert sum(painted) > 0.5


def test_the_error_map_agrees_with_the_scores(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    settings = {"logger": CSVLogger(tmp_path, name=""), "limit_val_batches": 1}
    trainer = build_trainer(**settings, callbacks=[PredictionImages(frames=[0])])
    (scores,) = trainer.validate(build_module(), build_data(tc="off"), verbose=False)
    (path,) = (tmp_path / "version_0" / "predictions").rglob("*.png")
    pixels = np.asarray(Image.open(path)).reshape(-1, 3)
    right, wrong = ((pixels == color).all(1).sum() for color in (CORRECT_COLOR, WRONG_COLOR))
    assert right / (right + wrong) == pytest.approx(scores["val/pixel_accuracy"], abs=0.02)


def test_tensorboard_runs_get_images(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="run")
    trainer = build_trainer(logger=logger, limit_val_batches=2, callbacks=[PredictionImages(frames=[FRAME])])
    trainer.validate(build_module(), build_data(), verbose=False)
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    (image,) = events.Images(f"val/prediction/{FRAME}")
    assert image.width >= 3 * 128
    assert not list(tmp_path.rglob("*.png"))


def test_nothing_is_drawn_in_the_sanity_check(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    trainer = build_trainer(
        num_sanity_val_steps=2,
        limit_train_batches=1,
        check_val_every_n_epoch=5,
        logger=CSVLogger(tmp_path, name=""),
        callbacks=[PredictionImages()],
    )
    trainer.fit(build_module(), build_data())
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("settings", [{"frames": []}, {"every_n_epochs": 0}], ids=str)
def test_settings_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="PredictionImages is out of range"):
        PredictionImages(**settings)


@pytest.mark.parametrize(("terminal", "kind"), [(True, RichProgressBar), (False, TQDMProgressBar)])
def test_progress_bar_fits_where_it_is_shown(monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: type) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert isinstance(default_progress_bar(), kind)
