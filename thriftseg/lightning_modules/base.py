"""Base of the training recipes: optimiser and schedule, plain checkpoints, losses pooled over processes."""

from __future__ import annotations

import copy
import math
import platform
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, runtime_checkable

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.core.saving import CHECKPOINT_PAST_HPARAMS_KEYS
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from thriftseg import __version__
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference import METADATA_KEY, RANDOM_STATES_KEY, Unrecordable, check_names, to_record
from thriftseg.lightning_modules.random_states import collect_random_states, restore_random_states
from thriftseg.lightning_modules.schedules import PolyLR
from thriftseg.losses import LossTerms
from thriftseg.zoo import Network, check_weights, freeze_batch_norm

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
"""Tells the trainer's loader to build the objects that hyper-parameters name."""


class LossPart(NamedTuple):
    """A summand of a loss.

    Attributes:
        name: Its name in the log, below `train/loss/`; parts that share one are logged as their sum.
        weight: Factor in the loss; the log leaves it out.
        terms: Sum and count of this process.
    """

    name: str
    weight: float
    terms: LossTerms


@runtime_checkable
class CountedLoss(Protocol):
    """A loss that can return its sum and its count, so that processes pool their pixels exactly."""

    def terms(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> LossTerms:
        """Numerator and denominator, both scalar."""


@contextmanager
def setting_errors(accelerator: object = None) -> Iterator[None]:
    """Tell a value that PyTorch or the trainer does not take, such as an accelerator that is not there.

    Args:
        accelerator: The accelerator that was asked for, if any.

    Raises:
        ConfigError: There is one.

    Example:
        >>> try:
        ...     with setting_errors():
        ...         torch.optim.SGD([torch.zeros(1)], lr=-1.0)
        ... except ConfigError as error:
        ...     print(error.problem)
        a setting is refused
    """
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        if "backend found" in str(error) or "accelerator is not available" in str(error):
            raise ConfigError(
                f"accelerator {accelerator!r} is not available on this machine", fix="pass --trainer.accelerator cpu"
            ) from error
        raise ConfigError("a setting is refused", found=" ".join(str(error).split())) from error


def usable_precision(precision: Any, accelerator: object = "auto") -> Any:
    """Single precision in the place of bf16-mixed on a processor that has no instructions for bfloat16, with a warning.

    Such a processor emulates them, and takes up to ten times as long for a step.

    Args:
        precision: Precision of a trainer; any other is returned as it is.
        accelerator: Its accelerator.

    Example:
        >>> usable_precision("16-mixed", "cuda"), usable_precision("bf16-mixed", "cuda")
        ('16-mixed', 'bf16-mixed')
    """
    if precision not in ("bf16-mixed", "bf16") or _has_bfloat16():
        return precision
    on_cpu = accelerator == "cpu" or isinstance(accelerator, CPUAccelerator)
    if accelerator == "auto":
        on_cpu = not (CUDAAccelerator.is_available() or MPSAccelerator.is_available())
    if not on_cpu:
        return precision
    rank_zero_warn("this processor only emulates bfloat16, which is far slower: computing in 32-true")
    return "32-true"


def _has_bfloat16() -> bool:
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported()
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class TrainingModule(LightningModule):
    """A network, what it learns from, and how they are trained and stored.

    Checkpoints name the network, the loss and the other objects in plain values, whether the module was built by
    the command line or in Python, and reload by path alone with `weights_only=True`. A subclass has the argument
    `network`, keeps it as an attribute and calls `_save_plain_hyperparameters` in its constructor. One that is scored
    implements `_reset_scores` and `_log_scores`, which serve validation and test.

    Args:
        optimizer: Function from parameters to an optimiser; that of `default_optimizer` if absent.
        lr_scheduler: Function from the optimiser to a schedule; `None` keeps the learning rate.
        lr_interval: Whether the schedule advances per step or per epoch; a plateau schedule always per epoch.

    Example:
        >>> class Line(TrainingModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.network = nn.Linear(1, 1)
        >>> optimizer = Line().configure_optimizers()
        >>> type(optimizer).__name__, optimizer.defaults["lr"], len(optimizer.param_groups[0]["params"])
        ('AdamW', 0.001, 2)
    """

    unrecorded: ClassVar[tuple[str, ...]] = ()
    """Arguments that only training needs; checkpoints hold `None` in their place."""

    monitor: ClassVar[str] = "val/miou"
    """Score by which the best checkpoint is chosen; larger is better."""

    network: nn.Module
    freeze_batch_norm: bool = False
    """Whether batch norm keeps the statistics it has, also in training."""

    def __init__(
        self,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__()
        self._optimizer, self._lr_scheduler, self._lr_interval = optimizer, lr_scheduler, lr_interval
        self._cost: dict[str, float] = {}
        self._random_states: list[dict[str, Any]] = []

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **settings: Any) -> Self:
        """Lightning's loader, which builds what the file names; only what the program has imported may be named.

        Args:
            checkpoint_path: The file, or a stream of it.
            args: As Lightning takes them.
            settings: As Lightning takes them; arguments of the constructor replace those of the file.

        Raises:
            CheckpointError: The file names a class or function that is not imported.
        """
        start = checkpoint_path.tell() if hasattr(checkpoint_path, "tell") else None
        weights_only = settings.setdefault("weights_only", True)
        content = torch.load(checkpoint_path, map_location="cpu", weights_only=weights_only)  # nosec B614 - by default
        if start is not None:
            checkpoint_path.seek(start)
        for key in (cls.CHECKPOINT_HYPER_PARAMS_KEY, *CHECKPOINT_PAST_HPARAMS_KEYS):
            recorded = {name: value for name, value in content.get(key, {}).items() if name not in settings}
            check_names(recorded, None if start is not None else checkpoint_path)
        return super().load_from_checkpoint(checkpoint_path, *args, **settings)

    def default_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """AdamW with learning rate 1e-3."""
        return torch.optim.AdamW(parameters, lr=1e-3)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation mode; frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batch_norm:
            freeze_batch_norm(self.network)
        return self

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule; a poly schedule learns the length of the run."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        with setting_errors():
            optimizer = (self._optimizer or self.default_optimizer)(parameters)
        if self._lr_scheduler is None:
            return optimizer
        scheduler = self._lr_scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": scheduler.monitor}}
        if isinstance(scheduler, PolyLR) and scheduler.total_steps is None:
            scheduler.total_steps = self._run_length()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self._lr_interval}}

    def on_fit_start(self) -> None:
        """Ask the datamodule what the training labels cost."""
        cost = getattr(self._datamodule(), "annotation_cost", None)
        if cost is not None:
            self._cost = {"hours": float(cost.hours), "clicks": float(cost.clicks)}

    def on_train_start(self) -> None:
        """Draw on as the run did that is resumed here."""
        restore_random_states(self._random_states, self.global_rank)
        self._random_states = []

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of an earlier pass."""
        self._reset_scores()

    def on_test_epoch_start(self) -> None:
        """Forget the scores of an earlier pass."""
        self._reset_scores()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all processes under `val/`."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of all processes under `test/`."""
        self._log_scores("test")

    def _reset_scores(self) -> None:
        """Forget all scores; nothing to forget by default."""

    def _log_scores(self, stage: str) -> None:
        """Log the scores of all processes below `stage/`; nothing by default."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the version, the cost of the labels and, while training, the states of random generators."""
        recorded = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        for name in recorded:  # the command line knows networks as they were asked for, weights of other files included
            if isinstance(value := getattr(self, name, None), Network):
                recorded[name] = to_record(value)
        checkpoint[METADATA_KEY] = {"version": __version__, "cost": self._cost}
        if self._is_fitted():
            checkpoint[RANDOM_STATES_KEY] = collect_random_states()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another network in one line, and remember what their labels cost.

        Raises:
            CheckpointError: A name is missing or too many, or a shape differs.
        """
        if "state_dict" not in checkpoint:
            raise CheckpointError("not a training checkpoint", expected="a dict with state_dict")
        check_weights(self, checkpoint["state_dict"], path=None)
        self._cost = dict(checkpoint.get(METADATA_KEY, {}).get("cost", {}))
        self._random_states = checkpoint.get(RANDOM_STATES_KEY, []) if self._is_fitted() else []

    def _weighted_sum(self, parts: Sequence[LossPart], batch_size: int) -> Tensor:
        """Loss to differentiate; logs it over all processes as `train/loss`, and its parts."""
        means = pooled_means([part.terms for part in parts])
        logged: dict[str, Tensor] = {}
        for part, (_, mean) in zip(parts, means, strict=True):
            name = f"train/loss/{part.name}"
            logged[name] = logged[name] + mean if name in logged else mean
        self.log_dict(logged, batch_size=batch_size)
        loss, everywhere = (
            torch.stack([part.weight * value for part, value in zip(parts, values, strict=True)]).sum()
            for values in zip(*means, strict=True)
        )
        self.log("train/loss", everywhere, prog_bar=True, batch_size=batch_size)
        return loss

    def _log_with_cost(self, scores: Mapping[str, Tensor | float]) -> None:
        """Log scores that are equal in all processes, and what the labels cost."""
        values = {**scores, **{f"cost/{name}": value for name, value in self._cost.items()}}
        # `sync_dist` only keeps the trainer from warning; beside GPUs it takes numbers, but no tensors of the CPU.
        self.log_dict({name: float(value) for name, value in values.items()}, sync_dist=True)

    def _datamodule(self) -> Any:
        return getattr(self._trainer, "datamodule", None)

    def _is_fitted(self) -> bool:
        return self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING

    def _run_length(self) -> int:
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf") or steps < 1:
            raise ConfigError("the schedule needs the length of the run", fix="set max_epochs or max_steps")
        return int(steps)

    def _save_plain_hyperparameters(self) -> None:
        """Save the constructor's arguments with every live object replaced by its record."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is an instance of `nn.Module`")
            self.save_hyperparameters()
        for name, value in list(self.hparams.items()):
            try:
                self.hparams[name] = None if name in self.unrecorded else to_record(value)
            except Unrecordable as error:
                del self.hparams[name]
                rank_zero_warn(f"checkpoints will not record {name!r}: {error}")
        self.hparams.setdefault("_instantiator", INSTANTIATOR)
        self._hparams_initial = copy.deepcopy(self.hparams)


def label_terms(loss: nn.Module, logits: Tensor, target: Tensor, weight: Tensor) -> LossTerms:
    """Sum and count of the loss of a batch of labels; a loss without terms counts once per process.

    Args:
        loss: Called as `loss(logits, target, weight)`.
        logits: (B, C, H, W).
        target: (B, H, W) int64.
        weight: (B,).
    """
    if isinstance(loss, CountedLoss):
        return loss.terms(logits, target, weight)
    value = loss(logits, target, weight)
    return LossTerms(value, torch.ones_like(value.detach()))


def check_range(name: str, value: float, least: float = 0, most: float = math.inf) -> None:
    """Refuse a setting that is out of range.

    Args:
        name: Its name.
        value: What was given.
        least: Smallest value that is allowed.
        most: Largest one.

    Raises:
        ConfigError: It is smaller or larger.
    """
    if not least <= value <= most:
        expected = f"{least} or more" if most == math.inf else f"{least} to {most}"
        raise ConfigError(f"{name} is out of range", expected=expected, found=value)


def pooled_means(terms: Sequence[LossTerms]) -> list[tuple[Tensor, Tensor]]:
    r"""Means over the batches of all processes, for gradients that are averaged over processes.

    With W processes, process r returns \( s_r W / \sum_q n_q \): the average of the gradients over processes is
    then the gradient of \( \sum_r s_r / \sum_q n_q \). Without any count the result is 0 with zero gradients.

    Args:
        terms: Sums and counts of this process; every process passes as many, in the same order.

    Returns:
        Of each, the loss to differentiate in this process, and the detached mean over all processes.
    """
    pooled = torch.stack([torch.stack([term.sum.detach(), term.count.to(term.sum)]) for term in terms])
    processes = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        processes = torch.distributed.get_world_size()
        if processes > 1:
            torch.distributed.all_reduce(pooled)
    counts = pooled[:, 1].clamp(min=1)
    return [
        (term.sum * (processes / count), mean)
        for term, count, mean in zip(terms, counts, pooled[:, 0] / counts, strict=True)
    ]
