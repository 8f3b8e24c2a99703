r"""Proximal policy optimisation [0] of short episodes that start in different states, in plain torch.

Arrays of episodes are (N, T): N environments, T steps of the longest episode. Shorter ones are padded, `valid` tells
where; no padded step enters a return, an advantage or the loss, whatever the arrays hold there. The value after the end
of an episode is 0, however it ended.

[0] Schulman et al., Proximal Policy Optimization Algorithms, 2017, https://arxiv.org/abs/1707.06347
[1] Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation, ICLR 2016.
[2] https://github.com/thanosDelatolas/eva-vos
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.lightning_modules.eva_vos.environment import VectorEnvironment
from thriftseg.types import AnnotationState

ActionChoice = Literal["sampled", "argmax"]
"""Whether an action is drawn from the policy, or the most probable one is taken."""


@dataclass(frozen=True)
class PPO:
    """Settings; the defaults are those of EVA-VOS [2].

    Attributes:
        clip: Ratio of new to old probability that still counts, as a distance from 1.
        value_weight: Factor on the squared error of the values.
        entropy_weight: Factor on the entropy, which is to stay large.
        kl_stop: A pass over the mini-batches ends after the first one with mean(log old - log new) this large.
        epochs: Passes over the mini-batches in an update.
        mini_batches: Mini-batches in a pass; the episodes of an environment stay together.
        gamma: Discount of later rewards in returns.
        gae_lambda: Further discount of later errors of the value in advantages [1].
        gae_gamma: Discount in advantages; `gamma` if absent ([2] has 0.99 here).

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> ppo = PPO(epochs=10)
        >>> ppo.epochs * ppo.mini_batches, ppo.gae_gamma or ppo.gamma  # steps of an update, at most
        (100, 0.95)
    """

    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 1e-4
    kl_stop: float = 0.02
    epochs: int = 40
    mini_batches: int = 10
    gamma: float = 0.95
    gae_lambda: float = 0.97
    gae_gamma: float | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} is negative", found=value)
        for name in ("gamma", "gae_lambda", "gae_gamma"):
            if (getattr(self, name) or 0) > 1:
                raise ConfigError(f"{name} is out of range", expected="0 to 1", found=getattr(self, name))
        if min(self.epochs, self.mini_batches) < 1:
            raise ConfigError("an update needs an epoch and a mini-batch", found=(self.epochs, self.mini_batches))


class Choice(NamedTuple):
    """Actions in some states, and what the policy said of them; each (n,).

    Attributes:
        actions: int64.
        log_probs: Of the actions.
        values: Of the states.
    """

    actions: Tensor
    log_probs: Tensor
    values: Tensor


Act = Callable[[Sequence[AnnotationState], Sequence[torch.Generator]], Choice]
"""Chooses an action in each state; all that is random in it comes from the state's generator."""


@dataclass(frozen=True)
class Episodes:
    """Records of N environments; arrays on the CPU.

    Attributes:
        states: Of each environment, the states that were acted in.
        last: Of each environment, the state after the last action.
        infos: Of each environment, the dict that came with that state.
        actions: (N, T) int64.
        log_probs: (N, T).
        values: (N, T).
        rewards: (N, T).
        valid: (N, T) bool, False on padding.
    """

    states: list[list[AnnotationState]]
    last: list[AnnotationState]
    infos: list[dict[str, Any]]
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    valid: Tensor


@dataclass(frozen=True)
class PPOSamples:
    """The M steps of all episodes without padding, in order of environment and time; each (M,).

    Attributes:
        environments: int64, whose episode a step belongs to.
        actions: int64.
        log_probs: Of the policy that acted.
        advantages: As from `generalised_advantages`.
        returns: As from `discounted_returns`.
    """

    environments: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor

    def at(self, indices: Tensor) -> PPOSamples:
        """Some of the steps."""
        return PPOSamples(*(getattr(self, field.name)[indices] for field in fields(self)))

    def to(self, device: torch.device | str) -> PPOSamples:
        """The same on another device."""
        return PPOSamples(*(getattr(self, field.name).to(device) for field in fields(self)))


class PPOLoss(NamedTuple):
    """The loss of each step, its parts, and how far the policy has moved; each (m,).

    Attributes:
        total: To be averaged and differentiated.
        policy: Of the clipped ratio.
        value: Squared error of the value.
        entropy: Of the policy.
        kl: log old - log new probability of the action.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    kl: Tensor


def discounted_returns(rewards: Tensor, valid: Tensor, gamma: float) -> Tensor:
    """Sum of the rewards from each step on, later ones discounted.

    Args:
        rewards: (N, T).
        valid: (N, T) bool.
        gamma: Discount per step.

    Returns:
        (N, T), 0 on padding.

    Example:
        >>> discounted_returns(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]]), gamma=0.5)
        tensor([[2., 2., 0.]])
    """
    return _discounted_sums(torch.where(valid, rewards, 0), valid, gamma)


def generalised_advantages(rewards: Tensor, values: Tensor, valid: Tensor, gamma: float, decay: float) -> Tensor:
    r"""Advantages \( A_t = \delta_t + \gamma \lambda A_{t+1} \) with \( \delta_t = r_t + \gamma V_{t+1} - V_t \) [1].

    Args:
        rewards: (N, T).
        values: (N, T), V of the states that were acted in; after the end of an episode it is 0.
        valid: (N, T) bool.
        gamma: Discount per step.
        decay: The factor lambda.

    Returns:
        (N, T), 0 on padding.
    """
    rewards, values = torch.where(valid, rewards, 0), torch.where(valid, values, 0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    return _discounted_sums(torch.where(valid, rewards + gamma * following - values, 0), valid, gamma * decay)


def ppo_loss(policy_logits: Tensor, values: Tensor, samples: PPOSamples, settings: PPO) -> PPOLoss:
    r"""Loss of steps: \( -\min(\rho A, \mathrm{clip}(\rho) A) + w_v (V - R)^2 - w_h H \), \( \rho = \pi / \pi_{old} \).

    Args:
        policy_logits: What the policy says now, (m, actions).
        values: What it says of the states, (m,).
        samples: The m steps.
        settings: Weights and clipping.
    """
    log_policy = policy_logits.log_softmax(dim=1)
    log_probs = log_policy.gather(1, samples.actions.unsqueeze(1)).squeeze(1)
    ratio = (log_probs - samples.log_probs).exp()
    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
    policy = -torch.minimum(ratio * samples.advantages, clipped * samples.advantages)
    value = (values - samples.returns).square()
    entropy = -(log_policy.exp() * log_policy).sum(dim=1)
    total = policy + settings.value_weight * value - settings.entropy_weight * entropy
    return PPOLoss(total, policy, value, entropy, (samples.log_probs - log_probs).detach())


def mini_batches(environments: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Share out steps at random; those of an environment stay together.

    Args:
        environments: (M,) int64, whose episode each step belongs to, from 0.
        count: Number of mini-batches; fewer where there are fewer environments.
        generator: Source of the order.

    Yields:
        Indices of the steps of a mini-batch, (m,).
    """
    number = int(environments.max()) + 1
    order = torch.randperm(number, generator=generator).to(environments.device)
    for group in order.tensor_split(min(count, number)):
        yield torch.isin(environments, group).nonzero().squeeze(1)


def choose_actions(policy_logits: Tensor, choice: ActionChoice, generators: Sequence[torch.Generator] = ()) -> Tensor:
    """Actions by a policy.

    Args:
        policy_logits: (n, actions).
        choice: How to choose.
        generators: For "sampled", a source of randomness of each row, on the CPU.

    Returns:
        (n,) int64, on the CPU.

    Example:
        >>> choose_actions(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), "argmax")
        tensor([1, 0])
    """
    logits = policy_logits.detach().double().cpu()
    if choice == "argmax":
        return logits.argmax(dim=1)
    drawn = torch.stack([torch.rand((), generator=source, dtype=torch.float64) for source in generators])
    reached = logits.softmax(dim=1).cumsum(dim=1)[:, :-1] <= drawn.unsqueeze(1)
    return reached.sum(dim=1)


def roll_out(environment: VectorEnvironment, seeds: Sequence[int], act: Act) -> Episodes:
    """Let a policy act until all episodes have ended.

    Args:
        environment: The environments.
        seeds: Of each environment and of the actions in it, so that an episode does not depend on those beside it.
        act: The policy.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    states, infos = environment.reset(seeds)
    acted: list[list[AnnotationState]] = [[] for _ in states]
    columns: list[Tensor] = []
    while running := environment.running:
        for place in running:
            acted[place].append(states[place])
        choice = act([states[place] for place in running], [generators[place] for place in running])
        step = environment.step(choice.actions.tolist())
        column = torch.zeros(5, len(acted), dtype=torch.float64)
        column[:3, running] = torch.stack([part.detach().double().cpu() for part in choice])
        column[3] = torch.tensor(step.rewards, dtype=torch.float64)
        column[4, running] = 1
        columns.append(column)
        states, infos = step.states, step.infos
    actions, log_probs, values, rewards, valid = torch.stack(columns, dim=2)  # (5, N, T)
    return Episodes(
        acted, states, infos, actions.long(), log_probs.float(), values.float(), rewards.float(), valid.bool()
    )


def samples_of(episodes: Episodes, settings: PPO) -> PPOSamples:
    """Returns and advantages of episodes, without padding.

    Args:
        episodes: The episodes.
        settings: Discounts.
    """
    valid = episodes.valid
    gae_gamma = settings.gamma if settings.gae_gamma is None else settings.gae_gamma
    advantages = generalised_advantages(episodes.rewards, episodes.values, valid, gae_gamma, settings.gae_lambda)
    returns = discounted_returns(episodes.rewards, valid, settings.gamma)
    environments = torch.arange(len(valid)).unsqueeze(1).expand_as(valid)
    columns = (environments, episodes.actions, episodes.log_probs, advantages, returns)
    return PPOSamples(*(column[valid] for column in columns))


def update_policy(
    samples: PPOSamples,
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    take_step: Callable[[PPOLoss], float],
    settings: PPO,
    generator: torch.Generator,
) -> dict[str, float]:
    """Improve a policy by the steps that it took, in several passes over mini-batches.

    As in [2], a mini-batch that finds the policy too far from the one that acted still counts and ends the pass; the
    next pass begins anew.

    Args:
        samples: The steps.
        evaluate: Gives logits (m, actions) and values (m,) of the policy as it is now, for the steps of given indices.
        take_step: Lowers the mean of a loss and returns the mean of its `kl`, both over all processes.
        settings: Weights, passes and limit.
        generator: Source of the order.

    Returns:
        Means over all steps taken of the fields of `PPOLoss`, and `steps`, their number.
    """
    parts: list[Tensor] = []
    for _ in range(settings.epochs):
        for indices in mini_batches(samples.environments, settings.mini_batches, generator):
            loss = ppo_loss(*evaluate(indices), samples.at(indices), settings)
            parts.append(torch.stack([part.detach().mean() for part in loss]))
            if take_step(loss) >= settings.kl_stop:
                break
    means = torch.stack(parts).mean(dim=0).tolist()
    return dict(zip(PPOLoss._fields, means, strict=True)) | {"steps": float(len(parts))}


def _discounted_sums(terms: Tensor, valid: Tensor, discount: float) -> Tensor:
    """From the last step to the first; padding stays 0."""
    sums = torch.zeros_like(terms)
    following = torch.zeros_like(terms[:, 0])
    for t in reversed(range(terms.shape[1])):
        following = torch.where(valid[:, t], terms[:, t] + discount * following, 0)
        sums[:, t] = following
    return sums
