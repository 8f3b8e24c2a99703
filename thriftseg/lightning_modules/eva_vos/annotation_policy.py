"""Training of agents that choose how to annotate an object in a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self, get_args

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric

from thriftseg import zoo
from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.base import TrainingModule, pooled_means
from thriftseg.lightning_modules.eva_vos.environment import VectorEnvironment
from thriftseg.lightning_modules.eva_vos.ppo import (
    PPO,
    ActionChoice,
    Choice,
    Episodes,
    PPOLoss,
    choose_actions,
    roll_out,
    samples_of,
    update_policy,
)
from thriftseg.losses import LossTerms
from thriftseg.types import AnnotationState, EpisodeBatch
from thriftseg.zoo import PolicyOutput

_SCORES = ("return", "quality", "seconds", "clicks")


class AnnotationTypeSelection(TrainingModule):
    """Trains an agent by proximal policy optimisation, see `thriftseg.lightning_modules.eva_vos.ppo` [0, 1].

    Each training step lets the agent act in a batch of environments, in evaluation mode, and improves it by what it
    found there, in many optimiser steps. The image encoder of the agent stays as it is: every image is embedded once,
    and only the average of the embedding, which is all that the agent reads, is kept. Everything random comes from the
    seeds in the batch, so a resumed run ends like one that was not interrupted. The trainer counts the steps of the
    optimiser (`max_steps`), of which a batch takes up to `epochs` x `mini_batches`: limit runs by epochs.

    Logged are `train/loss`, its parts `policy` and `value`, `train/entropy`, `train/kl`, `train/steps` (of the
    optimiser), `train/return` (mean sum of rewards of an episode); and of the validation episodes `val/return`,
    `val/quality` and `val/seconds` at their ends, `val/clicks` (share of action 0). Checkpoints reload by path alone.

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.
    [1] https://github.com/thanosDelatolas/eva-vos

    Args:
        network: Network to train.
        ppo: Settings of the optimisation; those of the paper by default.
        optimizer: Function from parameters to an optimiser; Adam with learning rate 1e-5 by default.
        choice: How actions are chosen in validation; in training they are sampled.
        freeze_batch_norm: Keep batch norm in evaluation mode, with the statistics it has, so that the agent which is
            improved is the one that acted.

    Raises:
        ConfigError: There is no such choice of actions.

    Example:
        >>> with torch.device("meta"):
        ...     module = AnnotationTypeSelection(zoo.AnnotationPolicy(num_actions=3), PPO(epochs=4, mini_batches=2))
        >>> module.ppo.epochs * module.ppo.mini_batches, module.configure_optimizers().defaults["lr"]
        (8, 1e-05)
    """

    monitor: ClassVar[str] = "val/return"
    network: zoo.AnnotationPolicy

    def __init__(
        self,
        network: zoo.AnnotationPolicy,
        ppo: PPO | None = None,
        optimizer: OptimizerCallable | None = None,
        choice: ActionChoice = "sampled",
        freeze_batch_norm: bool = True,
    ) -> None:
        super().__init__(optimizer)
        if choice not in get_args(ActionChoice):
            raise ConfigError("choice of an agent", expected=" or ".join(get_args(ActionChoice)), found=repr(choice))
        self._save_plain_hyperparameters()
        self.automatic_optimization = False
        self.network, self.ppo = network, ppo if ppo is not None else PPO()
        self.choice, self.freeze_batch_norm = choice, freeze_batch_norm
        self.scores: Any = nn.ModuleDict({name: MeanMetric() for name in _SCORES})
        self._embeddings: dict[str, Tensor] = {}
        if network.image_encoder is not None:
            network.image_encoder.requires_grad_(False)
        self.train(self.training)

    def default_optimizer(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """Adam with learning rate 1e-5."""
        return torch.optim.Adam(parameters, lr=1e-5)

    def forward(self, states: Sequence[AnnotationState]) -> PolicyOutput:
        """Weigh the actions in some states."""
        return self._weigh(*self._stack(states))

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation mode; the image encoder and frozen batch norm stay in evaluation mode."""
        super().train(mode)
        if self.network.image_encoder is not None:
            self.network.image_encoder.eval()
        return self

    def setup(self, stage: str) -> None:
        """Forget the embeddings of an earlier run, as the weights may have changed."""
        self._embeddings.clear()

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> None:
        """Act in the environments of a batch, and improve the agent."""
        episodes = self._roll_out(batch, "sampled")
        samples = samples_of(episodes, self.ppo).to(self.device)
        inputs = self._stack([state for states in episodes.states for state in states])
        generator = torch.Generator().manual_seed(batch["seeds"][0])

        def evaluate(indices: Tensor) -> tuple[Tensor, Tensor]:
            output = self._weigh(*(part[indices] for part in inputs))
            return output.policy_logits, output.value.squeeze(1)

        with self._seeded(batch["seeds"][0]):
            report = update_policy(samples, evaluate, self._take_step, self.ppo, generator)
        names = {"train/loss": "total", "train/loss/policy": "policy", "train/loss/value": "value"}
        names |= {f"train/{name}": name for name in ("entropy", "kl", "steps")}
        values = {key: report[name] for key, name in names.items()}
        returns = episodes.rewards.sum(dim=1).mean().item()  # a number goes to the device, where processes share it
        self.log_dict(values, batch_size=len(episodes.states), sync_dist=True)
        self.log("train/return", returns, prog_bar=True, batch_size=len(episodes.states), sync_dist=True)

    def validation_step(self, batch: EpisodeBatch, batch_idx: int) -> None:
        """Score the agent in the environments of a batch; one without environments keeps processes in step."""
        if not batch["environments"]:
            return
        episodes = self._roll_out(batch, self.choice)
        found = {
            "return": episodes.rewards.sum(dim=1),
            "quality": torch.tensor([info["quality"] for info in episodes.infos]),
            "seconds": torch.tensor([state.seconds for state in episodes.last]),
            "clicks": (episodes.actions[episodes.valid] == 0).float(),
        }
        for name, values in found.items():
            self.scores[name].update(values.to(self.device))

    def _reset_scores(self) -> None:
        for score in self.scores.values():
            score.reset()

    def _log_scores(self, stage: str) -> None:
        self._log_with_cost({f"{stage}/{name}": score.compute() for name, score in self.scores.items()})

    def _roll_out(self, batch: EpisodeBatch, choice: ActionChoice) -> Episodes:
        def act(states: Sequence[AnnotationState], generators: Sequence[torch.Generator]) -> Choice:
            output = self(states)
            actions = choose_actions(output.policy_logits, choice, generators)
            log_probs = output.policy_logits.log_softmax(dim=1).cpu().gather(1, actions.unsqueeze(1)).squeeze(1)
            return Choice(actions, log_probs, output.value.squeeze(1))

        training = self.training
        self.eval()
        with torch.no_grad():
            episodes = roll_out(VectorEnvironment(batch["environments"]), batch["seeds"], act)
        self.train(training)
        return episodes

    def _take_step(self, loss: PPOLoss) -> float:
        count = loss.total.new_full((), len(loss.total))
        terms = [LossTerms(loss.total.sum(), count), LossTerms(loss.kl.sum(), count)]
        (mean, _), (_, kl) = pooled_means(terms)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(mean)
        optimizer.step()
        return float(kl)

    def _weigh(self, embeddings: Tensor, masks: Tensor, seconds: Tensor) -> PolicyOutput:
        output: PolicyOutput = self.network(
            embeddings, masks, seconds if self.network.cost_branch is not None else None
        )
        return output

    def _stack(self, states: Sequence[AnnotationState]) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (n, 256, 1, 1), masks (n, h, w) and seconds (n,) of some states, on the device."""
        for state in states:
            if state.id not in self._embeddings:
                self._embeddings[state.id] = self._embed(state.image)
        embeddings = torch.stack([self._embeddings[state.id] for state in states])
        masks = torch.stack([state.mask for state in states])
        seconds = torch.tensor([state.seconds for state in states], dtype=embeddings.dtype)
        return embeddings.to(self.device), masks.to(self.device), seconds.to(self.device)

    @torch.no_grad()
    def _embed(self, image: Tensor) -> Tensor:
        """Average embedding of a frame or of its embedding, (256, 1, 1) on the CPU."""
        if not image.is_floating_point():
            frame = image.to(self.device).float().div(255)
            image = self.network.embed(self.network.preprocessing(frame).unsqueeze(0))[0]
        return image.float().mean(dim=(1, 2), keepdim=True).cpu()

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Let dropout depend on the seed alone, and nothing else on dropout."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
