"""Scores that finished runs left behind, and those of labels in a store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from thriftseg import __version__
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.errors import CheckpointError, ConfigError, LabelStoreError
from thriftseg.parsing import Amount, Count, check, read_json

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

SCORE_FILES = ("test", "validate", "fit")
"""Stems of the files of scores in the folder of a run, the most trusted first."""

SEED_SEPARATOR = "-"
"""Comes between the name of a config and what tells its runs apart, as in `cityscapes_tmanet_b3-seed1`."""

QUALITY_FILE = "quality.json"
"""File that `thriftseg label boxes` writes beside the labels of a source."""

PROFILE_FILE = "profile.json"
"""File in a folder called like a network, in which `thriftseg zoo profile` notes its size and speed."""

_NEVER = "never"
"""Stands for infinite hours in a file of kept runs."""

_QUALITIES = {"mean_j": "j_mean", "recall_50": "recall_50", "recall_70": "recall_70"}


class _Training(msgspec.Struct):
    steps: Count | None = None
    scored_step: Count | None = None
    seed: int | None = None


class _Scores(msgspec.Struct):
    command: str
    metrics: dict[str, float | None]
    network_sha256: str | None
    training: _Training = msgspec.field(default_factory=_Training)


class _Quality(msgspec.Struct):
    j_mean: float
    recall_50: float
    recall_70: float


class _LabelReport(msgspec.Struct):
    manual: Count
    cost: AnnotationCost
    quality: _Quality | None


class _Profile(msgspec.Struct):
    parameters: Count | None
    gflops: Amount | None
    fps: Amount
    size: tuple[Count, Count]
    device: str


@dataclass(frozen=True)
class ScoreFile:
    """Scores that a trainer command wrote: `fit.json`, `validate.json` or `test.json`.

    Attributes:
        path: The file.
        command: Command line that gave the scores.
        metrics: Scores by their logged name, such as `val/miou`, in [0, 1]; `None` for what has no score.
        network_sha256: Digest of the weights that were scored; `None` if they are not at hand any more.
        steps: Optimiser steps of the training; `None` if the file does not tell.
        scored_step: Step after which the scores were measured.
        seed: Seed of the training.

    Example:
        >>> scores = ScoreFile(Path("fit.json"), "thriftseg fit", {"val/miou": 0.5}, None, steps=300, scored_step=200)
        >>> scores.metrics["val/miou"], scores.steps - scores.scored_step  # steps of training after the scores
        (0.5, 100)
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
        kind: Stem of the file that the scores come from, one of `SCORE_FILES`, or "quality" for labels.
        scores: Scores without the name of the split, such as `miou` or `iou/car`, in [0, 1]; NaN for none. Of a curve
            also `hours_at_85`, infinite where J&F never gets there.
        hours: Annotation hours of the labels; `None` if unknown.
        steps: Optimiser steps of the training; `None` if unknown.
        scored_step: Step after which the scores were measured; `None` if unknown.
        seed: Seed of the training; `None` if unknown.
        masks: Masks that were drawn by hand for labels of objects; `None` if unknown.

    Example:
        >>> runs = [RunScores(Path(f"run-seed{seed}"), "fit", {"miou": miou}) for seed, miou in enumerate((0.5, 0.75))]
        >>> sum(run.scores["miou"] for run in runs) / len(runs)
        0.625
    """

    folder: Path
    kind: str
    scores: Mapping[str, float]
    hours: float | None = None
    steps: int | None = None
    scored_step: int | None = None
    seed: int | None = None
    masks: int | None = None


class _KeptFacts(msgspec.Struct):
    name: str
    hours: Amount | None = None
    seed: int | None = None
    steps: Count | None = None
    masks: Count | None = None


class _KeptRuns(msgspec.Struct):
    students: list[dict[str, str | int | float | None]]


@dataclass(frozen=True)
class ProfileFile:
    """Size and speed of a network, as `thriftseg zoo profile` wrote them.

    Attributes:
        measures: `params_m` and `gflops`, both in their unit, and `fps`; without those that are not known.
        how: Size of the frames and what computed, in words.
    """

    measures: Mapping[str, float]
    how: str


def read_score_file(path: str | Path) -> ScoreFile:
    """Read scores with the command that gave them.

    Args:
        path: File written by `thriftseg fit`, `validate` or `test`.

    Raises:
        CheckpointError: There is no such file, or it is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "test.json")
        ...     content = {"command": "server", "network_sha256": None, "metrics": {"test/overall": 0.793}}
        ...     _ = path.write_text(json.dumps(content))
        ...     read_score_file(path).metrics
        {'test/overall': 0.793}
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError("no such file of scores", path=path, fix="`thriftseg test` writes test.json")
    found = read_json(path, _Scores, fault=CheckpointError, fix="delete it, and run its command again")
    return ScoreFile(path, found.command, found.metrics, found.network_sha256, **structs.asdict(found.training))


def write_scores(
    path: str | Path,
    command: str,
    trainer: Trainer,
    *,
    steps: int | None = None,
    scored_step: int | None = None,
    seed: int | None = None,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write the scores that a trainer has logged, for `thriftseg zoo publish --metrics` and `thriftseg report`.

    A confusion matrix among the model's `results` goes to `<stem>_confusion.csv` beside them: a row per true class.

    Args:
        path: JSON file to write, in the folder of the run: `fit.json`, `validate.json` or `test.json`.
        command: What gave the scores, such as a command line.
        trainer: Trainer that ran the evaluation. A digest of its model's `network` tells whose scores they are; none is
            written where the network was trained on after `scored_step`.
        steps: Steps that the optimiser took.
        scored_step: Step after which the scores were measured.
        seed: Seed of the training.
        metrics: The scores, if the trainer has not logged them itself.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(lightning_module=None, callback_metrics={"test/miou": 0.5})  # stands for one
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_scores(Path(folder, "test.json"), "my own test", trainer, steps=300, scored_step=300)
        ...     run = read_run(folder)
        >>> run.scores, run.scored_step
        ({'miou': 0.5}, 300)
    """
    from thriftseg.zoo import Network, weights_digest

    path, model = Path(path), trainer.lightning_module
    network = getattr(model, "network", None)
    digest = weights_digest(network) if isinstance(network, Network) and scored_step == steps else None
    logged: Mapping[str, Any] = metrics or trainer.callback_metrics
    scores = {name: float(value) for name, value in sorted(logged.items())}
    training = {"steps": steps, "scored_step": scored_step} | ({} if seed is None else {"seed": seed})
    content = {
        "command": command,
        "thriftseg": __version__,
        "network_sha256": digest,
        "training": training,
        "metrics": {name: value if math.isfinite(value) else None for name, value in scores.items()},
    }
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
    confusion = getattr(model, "results", {}).get("confusion")
    if confusion is not None:
        rows = (",".join(map(str, row)) for row in confusion.tolist())
        write_bytes(path.with_name(f"{path.stem}_confusion.csv"), ("\n".join(rows) + "\n").encode())


def find_runs(folder: str | Path, config: str) -> list[Path]:
    """Folders of the runs of a config: `<config>`, and `<config>-<anything>` for further seeds.

    Args:
        folder: Folder of runs, or of a label store.
        config: Name of the config without folder and suffix, or of a source of labels.

    Returns:
        Folders in order of their names.

    Raises:
        ConfigError: There is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("camvid_b3", "camvid_b3-seed1", "camvid_b30"):
        ...         Path(folder, name).mkdir()
        ...     [path.name for path in find_runs(folder, "camvid_b3")]
        ['camvid_b3', 'camvid_b3-seed1']
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

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, miou in (("fit", 0.5), ("validate", 0.75)):
        ...         content = {"command": f"thriftseg {name}", "network_sha256": None, "metrics": {"val/miou": miou}}
        ...         _ = Path(folder, f"{name}.json").write_text(json.dumps(content))
        ...     run = read_run(folder)
        >>> run.kind, run.scores
        ('validate', {'miou': 0.75})
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


def read_tests(
    folder: str | Path, datasets: Sequence[str], kinds: Sequence[str] = SCORE_FILES, best_of: str | None = None
) -> RunScores | None:
    """Read the scores of a run on several data sets, each from the folder of its name within that of the run.

    Args:
        folder: Folder of the run.
        datasets: Names of the data sets.
        kinds: Files that may be read, as for `read_run`.
        best_of: Name that the scores of the test with the best J&F go by, too, as soon as all have been run.

    Returns:
        Scores named `<data set>/<score>`; `None` if there are none of any of the data sets.

    Raises:
        CheckpointError: A file is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, miou in (("camvid", 0.5), ("idd", 0.25)):
        ...         content = {"command": "thriftseg test", "network_sha256": None, "metrics": {"test/miou": miou}}
        ...         (test := Path(folder, name, "test.json")).parent.mkdir()
        ...         _ = test.write_text(json.dumps(content))
        ...     read_tests(folder, ["camvid", "idd"]).scores
        {'camvid/miou': 0.5, 'idd/miou': 0.25}
    """
    folder = Path(folder)
    tests = {name: run for name in datasets if (run := read_run(folder / name, kinds)) is not None}
    if not tests:
        return None
    runs = [run for run in (read_run(folder), *tests.values()) if run is not None]
    named = dict(tests)
    if best_of is not None and len(tests) == len(datasets):
        named[best_of] = max(tests.values(), key=lambda run: run.scores.get("jf", -math.inf))
    return RunScores(
        folder,
        next(iter(tests.values())).kind,
        {f"{name}/{score}": value for name, run in named.items() for score, value in run.scores.items()},
        hours=next((run.hours for run in runs if run.hours is not None), None),
        steps=max(_known(run.steps for run in runs), default=None),
        scored_step=min(_known(run.scored_step for run in tests.values()), default=None),
        seed=next(_known(run.seed for run in runs), None),
    )


def read_labels(folder: str | Path) -> RunScores | None:
    """Read how good the labels of a source are, before bad ones were taken out, and what they cost.

    Args:
        folder: Folder of the source in a label store.

    Returns:
        `mean_j`, `recall_50` and `recall_70`, none of them where the truth was not known; `None` if nothing was
        measured.

    Raises:
        LabelStoreError: The report is damaged.
    """
    path = Path(folder) / QUALITY_FILE
    if not path.is_file():
        return None
    fix = "delete it, and run its `thriftseg label boxes` again"
    found = read_json(path, _LabelReport, fault=LabelStoreError, fix=fix)
    scores = {name: getattr(found.quality, key) for name, key in _QUALITIES.items()} if found.quality else {}
    return RunScores(path.parent, path.stem, scores, hours=found.cost.hours, masks=found.manual)


def keep_runs(path: str | Path, runs: Mapping[str, Sequence[RunScores]]) -> None:
    """Write the scores of many runs into one file, which stays when their folders go; those of classes are left out.

    Args:
        path: JSON file to write.
        runs: Runs by the name of what they are runs of.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "kept.json")
        ...     keep_runs(path, {"B3": [RunScores(Path("run"), "fit", {"miou": 0.5, "iou/car": 0.25}, seed=1)]})
        ...     json.loads(path.read_text())
        {'students': [{'name': 'B3', 'seed': 1, 'miou': 0.5}]}
    """
    lines = []
    for name, run in ((name, run) for name, each in runs.items() for run in each):
        facts = {"seed": run.seed, "steps": run.steps, "hours": run.hours, "masks": run.masks}
        scores = {key: value for key, value in run.scores.items() if not key.startswith("iou/")}
        known = {key: value for key, value in (facts | scores).items() if value is not None and not math.isnan(value)}
        line = {key: round(value, 4) if math.isfinite(value) else _NEVER for key, value in known.items()}
        lines.append(json.dumps({"name": name} | line))
    write_bytes(Path(path), ('{"students": [\n  ' + ",\n  ".join(lines) + "\n]}\n").encode())


def read_kept_runs(path: str | Path) -> dict[str, list[RunScores]]:
    """Read what `keep_runs` has written, or `results.json` of a quickstart.

    Args:
        path: The file.

    Returns:
        Runs by the name of what they are runs of; those of a quickstart by the name of its students.

    Raises:
        CheckpointError: The file is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "results.json")
        ...     _ = path.write_text('{"students": [{"name": "clicks", "hours": 1.5, "miou": 0.5}]}')
        ...     [run] = read_kept_runs(path)["clicks"]
        >>> run.hours, run.scores
        (1.5, {'miou': 0.5})
    """
    path = Path(path)
    found: dict[str, list[RunScores]] = {}
    for student in read_json(path, _KeptRuns, fault=CheckpointError).students:
        own = {key: value for key, value in student.items() if key in _KeptFacts.__struct_fields__}
        facts = structs.asdict(check(own, _KeptFacts, path, fault=CheckpointError))
        known = {key: math.inf if v == _NEVER else v for key, v in student.items() if key not in own}
        scores = {key: float(v) for key, v in known.items() if isinstance(v, int | float)}
        found.setdefault(facts.pop("name"), []).append(RunScores(path, path.stem, scores, **facts))
    return found


def read_profile(folder: str | Path) -> ProfileFile | None:
    """Read what was measured of a network.

    Args:
        folder: Folder that `thriftseg zoo profile NAME --out <folder>/profile.json` has written to.

    Returns:
        Size and speed; `None` if nothing was measured.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = Path(folder) / PROFILE_FILE
    if not path.is_file():
        return None
    fix = "delete it, and run `thriftseg zoo profile` again"
    found = read_json(path, _Profile, fault=CheckpointError, fix=fix)
    millions = None if found.parameters is None else found.parameters / 1e6
    measures = {"params_m": millions, "gflops": found.gflops, "fps": found.fps}
    known = {name: value for name, value in measures.items() if value is not None}
    return ProfileFile(known, f"at {found.size[0]}x{found.size[1]} on {found.device}")


def _known(values: Iterator[int | None]) -> Iterator[int]:
    return (value for value in values if value is not None)
