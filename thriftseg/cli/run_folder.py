"""The folder of a run, and what it starts from: checkpoints and published weights."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference import load_as, read_checkpoint
from thriftseg.lightning_modules import LastCheckpoint
from thriftseg.zoo import Network, check_weights

CHECKPOINTS = "checkpoints"
LAST = "last"
BEST = "best"
HPC = "hpc"
"""Name of the checkpoint that the trainer writes where SLURM stops it, and finds itself."""


def default_checkpoints(monitor: str) -> list[ModelCheckpoint]:
    """Keep the best checkpoint by a score, and the last state.

    Args:
        monitor: The score; larger is better.
    """
    name = f"epoch{{epoch:03d}}-{monitor.rpartition('/')[2]}{{{monitor}:.4f}}"
    best = ModelCheckpoint(filename=name, auto_insert_metric_name=False, monitor=monitor, mode="max")
    return [best, LastCheckpoint()]


def check_checkpoint(path: str | Path | None, trainer: Trainer) -> None:
    """Make sure that the checkpoint to start from exists and is one.

    Args:
        path: Value of `--ckpt_path`: a file, a keyword of the trainer, or nothing.
        trainer: The trainer, whose checkpoint folders are searched for `last`.

    Raises:
        CheckpointError: There is no such checkpoint, or the file is no checkpoint.
    """
    if path == LAST:
        folders = [
            Path(c.dirpath) for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath
        ]
        found = [path for folder in folders for path in folder.glob(f"{LAST}*.ckpt")]
        if not found:
            raise nothing_to_resume(folders[0] if folders else None)
        read_checkpoint(max(found, key=lambda path: path.stat().st_mtime))
    elif path == HPC:
        folder = Path(trainer.default_root_dir)
        if not any(folder.glob(f"{HPC}_ckpt_*.ckpt")):
            raise CheckpointError("no checkpoint written by SLURM's signal", path=folder, fix="name one by --ckpt_path")
    elif path is not None and not is_left_to_the_trainer(path):
        read_checkpoint(path)


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint of a run that its scores are made of: the best one, or the last where none was scored.

    Args:
        folder: Folder of its checkpoints.

    Raises:
        CheckpointError: There is none, or it cannot be told which is the best.
    """
    fix = "name the weights to score by --ckpt_path or --weights"
    found = sorted(path for path in folder.glob("*.ckpt") if not path.stem.startswith(LAST))
    found = found or sorted(folder.glob(f"{LAST}.ckpt"))
    if len(found) != 1:
        raise CheckpointError(f"{len(found) or 'no'} checkpoints to score", path=folder, expected="one", fix=fix)
    return found[0]


def start_from(weights: str, model: LightningModule) -> None:
    """Load weights into the network of a model, to train it on from there.

    Args:
        weights: A training checkpoint (.ckpt), or published weights: a name, a path, or `hf:<organisation>/<name>`, see
            `zoo.load`.
        model: Model whose `network` takes them.

    Raises:
        CheckpointError: There are no such weights, or they belong to another network.
    """
    network = model.network
    if not isinstance(network, Network):
        raise ConfigError(f"{type(model).__name__} has no network that takes weights", fix="leave --weights out")
    start = network.start_from(load_as(weights, Network))
    check_weights(network, start, weights)
    network.load_state_dict(start)


def nothing_to_resume(folder: Path | None) -> CheckpointError:
    """The error of a run that has no last checkpoint.

    Args:
        folder: Where it was looked for.
    """
    return CheckpointError(
        "no last.ckpt to resume from",
        path=folder,
        fix="train without --ckpt_path first, or pass the --name of the run to resume",
    )


def has_last(folder: Path) -> bool:
    """Whether a folder has a last checkpoint."""
    return any(folder.glob(f"{LAST}*.ckpt"))


def is_left_to_the_trainer(path: str | Path) -> bool:
    """Whether the trainer itself finds the checkpoint that `--ckpt_path` names."""
    return path in (BEST, HPC) or str(path).startswith("registry:")
