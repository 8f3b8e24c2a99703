"""Scores that finished runs left behind."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg.errors import CheckpointError, ConfigError

SCORE_FILES = ("test", "validate", "fit")
"""Stems of the files of scores in the folder of a run, the most trusted first."""

SEED_SEPARATOR = "-"
"""Comes between the name of a config and what tells its runs apart, as in `cityscapes_tmanet_b3-seed1`."""


@dataclass(frozen=True)
class ScoreFile:
    """What a trainer command wrote about a network: `fit.json`, `validate.json` or `test.json`.

    Attributes:
        path: The file.
        command: Command line that gave the scores.
        metrics: Scores by their logged name, such as `val/miou`, in [0, 1]; `None` for what has no score.
        network_sha256: Digest of the weights that were scored; `None` if they are not at hand any more.
        steps: Optimiser steps of the training; `None` if the file does not tell.
        scored_step: Step after which the scores were measured.
        seed: Seed of the training.
    """

    path: Path
    command: str
    metrics: Mapping[str, float | None]
    network_sha256: str | None
    steps: int | None = None
    scored_step: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RunScores:
    """Scores of one run, from the most trusted of its files.

    Attributes:
        folder: Folder of the run.
        kind: File that the scores come from, one of `SCORE_FILES`.
        scores: Scores without the name of the split, such as `miou` or `iou/car`, in [0, 1]; NaN for none.
        hours: Annotation hours of the labels; `None` if unknown.
        steps: Optimiser steps of the training; `None` if unknown.
        scored_step: Step after which the scores were measured; `None` if unknown.
        seed: Seed of the training; `None` if unknown.
    """

    folder: Path
    kind: str
    scores: Mapping[str, float]
    hours: float | None = None
    steps: int | None = None
    scored_step: int | None = None
    seed: int | None = None


def read_score_file(path: str | Path) -> ScoreFile:
    """Read scores with the command that gave them.

    Args:
        path: File written by `thriftseg fit`, `validate` or `test`.

    Raises:
        CheckpointError: There is no such file, or it is damaged.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
        training = content.get("training", {})
        return ScoreFile(
            path,
            str(content["command"]),
            {str(name): None if value is None else float(value) for name, value in content["metrics"].items()},
            content["network_sha256"],
            steps=_count(training.get("steps")),
            scored_step=_count(training.get("scored_step")),
            seed=_count(training.get("seed")),
        )
    except FileNotFoundError as error:
        raise CheckpointError("no such file of scores", path=path, fix="`thriftseg test` writes test.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "not a file of scores",
            path=path,
            expected="command, metrics and network_sha256",
            found=error,
            fix="delete it, and run its command again",
        ) from error


def find_runs(folder: str | Path, config: str) -> list[Path]:
    """Folders of the runs of a config: `<config>`, and `<config>-<anything>` for further seeds.

    Args:
        folder: Folder of runs.
        config: Name of the config without folder and suffix.

    Returns:
        Folders in order of their names.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError("no such folder of runs", path=folder, fix="pass the folder that `thriftseg fit` writes to")
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.split(SEED_SEPARATOR)[0] == config)


def read_run(folder: str | Path, kinds: Sequence[str] = SCORE_FILES) -> RunScores | None:
    """Read the scores of a run.

    Args:
        folder: Folder of the run.
        kinds: Files that may be read, by their stems, the preferred first.

    Returns:
        The scores; `None` if the run has none of these files.

    Raises:
        CheckpointError: A file is damaged.
    """
    folder = Path(folder)
    files = {kind: read_score_file(path) for kind in SCORE_FILES if (path := folder / f"{kind}.json").is_file()}
    kind = next((kind for kind in kinds if kind in files), None)
    if kind is None:
        return None
    metrics = {name: math.nan if value is None else value for name, value in files[kind].metrics.items()}
    split = "test/" if kind == "test" else "val/"
    return RunScores(
        folder,
        kind,
        {name.removeprefix(split): value for name, value in metrics.items() if name.startswith(split)},
        hours=files[kind].metrics.get("cost/hours"),
        steps=max(_known(file.steps for file in files.values()), default=None),
        scored_step=files[kind].scored_step,
        seed=next(_known(file.seed for file in files.values()), None),
    )


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


def _known(values: Iterator[int | None]) -> Iterator[int]:
    return (value for value in values if value is not None)
