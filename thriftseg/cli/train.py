"""`thriftseg fit | validate | test`: Lightning's command line with this project's defaults."""

from __future__ import annotations

import logging
import re
import shlex
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_info

from thriftseg.atomic import named_in_errors
from thriftseg.cli.options.renamed import MODEL_SETTINGS
from thriftseg.cli.options.shipped_config import find_config, row_as_config
from thriftseg.cli.run_folder import (
    BEST,
    CHECKPOINTS,
    LAST,
    best_checkpoint,
    check_checkpoint,
    default_checkpoints,
    has_last,
    is_left_to_the_trainer,
    nothing_to_resume,
    start_from,
)
from thriftseg.errors import CheckpointError, ConfigError, Stopped
from thriftseg.folders import RUNS, sole_writer
from thriftseg.inference import read_checkpoint
from thriftseg.lightning_modules import (
    TEACHER_CHECKPOINT,
    RunRecord,
    TrainingModule,
    between_batches,
    default_progress_bar,
    setting_errors,
    train_teacher,
    usable_precision,
)
from thriftseg.reports import write_scores

DESCRIPTION = "Settings come from --config FILE, or from a row of a published table: --table NAME --row KEY."
TEACHER = "teacher"


class TrainingCLI(LightningCLI):
    """Trains and scores what a config names.

    A run writes to `runs/<name>`: checkpoints (the best by the score that the model names, such as `val/miou`, and the
    last) to `checkpoints/`, metrics and the config of each attempt to `version_<n>/`. The number of classes and their
    names flow from the data set into the network and the module, where these have any. Settings come from configs and
    arguments alone, never from a checkpoint.

    A student whose config names a teacher without weights is trained after that teacher, see `TeacherCLI`.

    Args:
        args: Arguments of the command, names of shipped configs replaced by their paths.
        command: Command line as it was given, kept with the scores.
    """

    def __init__(self, args: list[str], command: str) -> None:
        self._args, self._command = args, command
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_kwargs={"prog": "thriftseg", "exit_on_error": False, args[0]: {"description": DESCRIPTION}},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=args,
            auto_configure_optimizers=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The method of the trainer that is called; the parser of each takes long to build and to use."""
        name = self._args[0]
        return {name: LightningCLI.subcommands()[name]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the name of the run, and link what the data know to what the model needs."""
        parser.add_argument(
            "--name", type=str | None, help="Folder of the run under runs/; the config's name if unset."
        )
        parser.add_argument(
            "--weights",
            type=str | None,
            help="Weights to start from: a checkpoint, or published ones: a name, a path, hf:<organisation>/<name>.",
        )
        parser.add_argument(
            "--stage",
            type=Literal["both", "teacher", "student"],
            default="both",
            help="What to train where a student has a teacher: one of them, or both; a trained teacher is used again.",
        )
        parser.link_arguments(
            "data.num_classes", "model.init_args.network.init_args.num_classes", apply_on="instantiate"
        )
        parser.link_arguments("data.class_names", "model.init_args.class_names", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse a list of arguments, whatever the program was started with.

        The parser of all commands would check everything once more than that of the command, which takes as long again.

        Raises:
            ConfigError: A setting of the model has another name now.
        """
        command, *options = args
        alone = self._parser(command)
        vars(alone).pop("parent_parser", None)  # to which it would leave --print_config
        try:
            self.config = Namespace(subcommand=command, **{command: alone.parse_args(options)})
        except ArgumentError as error:
            raise _renamed(str(error)) or error from None
        trainer = self._options.trainer
        trainer.precision = usable_precision(trainer.precision, trainer.accelerator)

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the settings stored in the checkpoint override those of the command line.
        return

    def before_instantiate_classes(self) -> None:
        """Train the teacher of a student first, where it has no weights yet."""
        if self.config.subcommand != "fit":
            return
        settings = self._options.model.init_args
        if settings.get("teacher") is not None and settings.get("teacher_weights") is None:
            self._check_start_of_student()
            settings.teacher_weights = self._trained_teacher()
            self._set_seed()
        elif self._options.stage == "teacher":
            raise ConfigError("there is no teacher to train", fix="name one in the model, without teacher_weights")

    def after_instantiate_classes(self) -> None:
        """Check the checkpoint to start from before any work is done, and load the published weights.

        What is scored without either are the best weights of the run.
        """
        chosen = self._options.get("ckpt_path")
        if chosen == BEST:
            chosen = self.config_init[self.config.subcommand].ckpt_path = str(
                best_checkpoint(self.run_folder / CHECKPOINTS)
            )
        check_checkpoint(chosen, self.trainer)
        if chosen:
            return
        if self._options.weights:
            start_from(self._options.weights, self.model)
        elif self.config.subcommand != "fit":
            best = best_checkpoint(self.run_folder / CHECKPOINTS)
            self.config_init[self.config.subcommand].ckpt_path = str(best)
            rank_zero_info(f"Scoring {best}")

    def after_fit(self) -> None:
        """Keep the last scores of training, its steps and seed, unless it was a trial or had them before.

        Scores of an earlier training in the same folder go, as they are of other weights than those that lie there now.
        """
        if self._options.trainer.fast_dev_run:
            return
        record, trained = self._run_record, bool(self.trainer.callback_metrics)
        if trained and self.trainer.is_global_zero:
            for earlier in ("validate", "test"):
                (self.run_folder / f"{earlier}.json").unlink(missing_ok=True)
        if trained or (record.metrics and not (self.run_folder / "fit.json").is_file()):
            seed = self._options.seed_everything
            steps = {"steps": self.trainer.global_step, "scored_step": record.step}
            self._write_scores(steps | {"seed": None if seed is False else seed}, None if trained else record.metrics)

    def after_validate(self) -> None:
        """Keep the scores with the command that gave them."""
        self._write_scores_of_checkpoint()

    def after_test(self) -> None:
        """Keep the scores with the command that gave them."""
        self._write_scores_of_checkpoint()

    def _run_subcommand(self, subcommand: str) -> None:
        if self._options.stage != "teacher":
            self._run_until_stopped(subcommand)

    def _run_until_stopped(self, subcommand: str) -> None:
        trains = subcommand == "fit" and self.trainer.is_global_zero
        try:
            writer = sole_writer(self.run_folder) if trains else nullcontext()
            with writer, between_batches(), named_in_errors(self.run_folder):
                super()._run_subcommand(subcommand)
        except Stopped as stop:
            if subcommand == "fit" and has_last(self.run_folder / CHECKPOINTS):
                stop.fix = "the same command with --ckpt_path last goes on"
            raise

    def _check_start_of_student(self) -> None:
        """Refuse a missing checkpoint before the teacher is trained; a run that ended in stage one needs none."""
        chosen, teacher = self._options.ckpt_path, self.run_folder / TEACHER
        if chosen not in (None, LAST) and not is_left_to_the_trainer(chosen):
            read_checkpoint(chosen)
        if chosen != LAST or (teacher / TEACHER_CHECKPOINT).is_file() or has_last(self.run_folder / CHECKPOINTS):
            return
        if not has_last(teacher / CHECKPOINTS):
            raise nothing_to_resume(self.run_folder / CHECKPOINTS)
        self._options.ckpt_path = None

    def _trained_teacher(self) -> str | None:
        """Checkpoint of the teacher, trained now if it is not there; `None` after a trial run, which keeps nothing."""
        checkpoint = self.run_folder / TEACHER / TEACHER_CHECKPOINT
        if not checkpoint.is_file():
            if self._options.stage == "student":
                raise CheckpointError(
                    "no trained teacher", path=checkpoint, fix="train it with --stage teacher or both"
                )
            rank_zero_info(f"Stage one: the teacher is trained into {checkpoint.parent}")
            TeacherCLI(self._args, self._command)
            if self._options.trainer.fast_dev_run:
                return None
        return str(checkpoint)

    @property
    def run_folder(self) -> Path:
        """Folder that the run writes to."""
        chosen = self._options.trainer.default_root_dir
        return Path(chosen) if chosen else Path(RUNS) / self._run_name()

    def _set_seed(self) -> None:
        with setting_errors():
            super()._set_seed()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with this project's logger, checkpoints and progress bar where none are configured."""
        options = self._get(self.config_init, "trainer")
        callbacks = _as_list(options.callbacks)
        folder = str(self.run_folder)
        kwargs.setdefault("default_root_dir", folder)
        if options.logger in (None, True):
            kwargs.setdefault("logger", CSVLogger(folder, name=""))
        if options.enable_checkpointing is not False and not _has(callbacks, ModelCheckpoint):
            callbacks.extend(default_checkpoints(getattr(self.model, "monitor", TrainingModule.monitor)))
        for callback in callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run_folder / CHECKPOINTS)
        if not _has(callbacks, RunRecord):
            callbacks.append(RunRecord(self._command))
        if options.enable_progress_bar is not False and not _has(callbacks, ProgressBar):
            callbacks.append(default_progress_bar())
        with setting_errors(options.accelerator):
            return super().instantiate_trainer(callbacks=callbacks, **kwargs)

    def _write_scores_of_checkpoint(self) -> None:
        step = self._run_record.loaded_step
        self._write_scores({"steps": step, "scored_step": step})

    def _write_scores(self, training: Mapping[str, int | None], metrics: Mapping[str, float] | None = None) -> None:
        if self.trainer.is_global_zero:
            path = self.run_folder / f"{self.config.subcommand}.json"
            write_scores(path, self._command, self.trainer, **training, metrics=metrics)
            print(f"scores with their command: {path}")

    @property
    def _run_record(self) -> RunRecord:
        return next(callback for callback in _as_list(self.trainer.callbacks) if isinstance(callback, RunRecord))  # type: ignore[attr-defined]

    @property
    def _options(self) -> Any:
        return self.config[self.config.subcommand]

    def _run_name(self) -> str:
        if self._options.name:
            return str(self._options.name)
        configs = _as_list(self._options.get("config"))
        return Path(str(configs[0])).stem if configs and configs[0] else "default"


class TeacherCLI(TrainingCLI):
    """Trains the teacher of a student by the student's config, see `train_teacher`.

    The run writes to the folder `teacher` of the student's run.
    """

    def before_instantiate_classes(self) -> None:
        """Start from nothing: checkpoints and published weights are meant for the student."""
        self._options.ckpt_path = self._options.weights = None

    def fit(self, **arguments: Any) -> None:
        """Train the teacher in the place of the student."""
        train_teacher(self.model, self.datamodule, self.trainer)

    @property
    def run_folder(self) -> Path:
        """Folder that the teacher's run writes to."""
        return super().run_folder / TEACHER

    def _run_subcommand(self, subcommand: str) -> None:
        self._run_until_stopped(subcommand)


def main(argv: list[str]) -> int:
    """Run a trainer command.

    Args:
        argv: `fit`, `validate` or `test`, and its options. `--config` takes a file, or the name of a config that
            ships with the package, such as `supervised/camvid_pspnet_resnet18.yaml`; `--table samsam2_t1 --row B3`
            composes the config of a row of a published table.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    with row_as_config(argv) as arguments:
        TrainingCLI([*_with_shipped_configs(arguments)], command=shlex.join(["thriftseg", *argv]))
    return 0


def _with_shipped_configs(argv: list[str]) -> Iterator[str]:
    """Arguments, with the names of shipped configs replaced by their paths."""
    previous = ""
    for argument in argv:
        flag, _, value = argument.rpartition("=") if argument.startswith("--config=") else ("", "", argument)
        if flag or previous in ("-c", "--config"):
            value = find_config(value)
        previous = argument
        yield f"{flag}={value}" if flag else value


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless cloud" not in record.getMessage()


def _renamed(message: str) -> ConfigError | None:
    """What to write in place of the former name that a report of the parser complains about."""
    preset = re.search(r"Import path (?:\S+\.)?(WeClick|TDNetDistillation)\b", message)
    if preset:
        return ConfigError(
            f"{preset[1]} is an objective now",
            expected="class_path: thriftseg.lightning_modules.SemanticSegmentation",
            fix=f"set objective.class_path to thriftseg.lightning_modules.{preset[1]} and move its settings there",
        )
    name = re.search(r"(?:Option '|unrecognized arguments: --(?:model\.)?(?:init_args\.)?)(\w+)", message)
    if not name or name[1] not in MODEL_SETTINGS:
        return None
    return ConfigError(f"model.{name[1]} has another name", fix=f"set model.{MODEL_SETTINGS[name[1]]}")


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _has(callbacks: list[Any], kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)
