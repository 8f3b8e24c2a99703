"""Environments that are annotated side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from thriftseg.errors import ConfigError
from thriftseg.types import AnnotationEnvironment, AnnotationState


class VectorStep(NamedTuple):
    """Result of a step of all environments, an entry for each.

    Attributes:
        states: Their states; a finished one keeps its last.
        rewards: Their rewards; 0 for those that were finished before.
        terminated: Whether the annotation is finished.
        truncated: Whether it was cut off.
        infos: Their dicts, see `AnnotationEnvironment`.
    """

    states: list[AnnotationState]
    rewards: list[float]
    terminated: list[bool]
    truncated: list[bool]
    infos: list[dict[str, Any]]


class VectorEnvironment:
    """Steps several environments together, each through one episode; finished ones wait for the others.

    Args:
        environments: The environments, all with the same actions.

    Raises:
        ConfigError: There is none, or their numbers of actions differ.

    Example:
        >>> import torch
        >>> state = AnnotationState("image", torch.zeros(3, 4, 4), torch.zeros(4, 4), seconds=0.0)
        >>> class Once:
        ...     num_actions = 2
        ...     def reset(self, seed):
        ...         return state, {"quality": 0.0}
        ...     def step(self, action):
        ...         return state, float(action), True, False, {"quality": 0.5}
        >>> environment = VectorEnvironment([Once(), Once()])
        >>> _ = environment.reset([0, 1])
        >>> environment.step([0, 1]).rewards, environment.running
        ([0.0, 1.0], [])
    """

    def __init__(self, environments: Sequence[AnnotationEnvironment]) -> None:
        counts = sorted({environment.num_actions for environment in environments})
        if len(counts) != 1:
            raise ConfigError("environments do not fit together", expected="one number of actions", found=counts)
        self.environments, self.num_actions = list(environments), counts[0]
        self._last: VectorStep | None = None

    @property
    def running(self) -> list[int]:
        """Places of the environments whose episode goes on."""
        if self._last is None:
            return []
        ends = zip(self._last.terminated, self._last.truncated, strict=True)
        return [place for place, (terminated, truncated) in enumerate(ends) if not (terminated or truncated)]

    def reset(self, seeds: Sequence[int]) -> tuple[list[AnnotationState], list[dict[str, Any]]]:
        """Start an episode in each environment.

        Args:
            seeds: Seed of each.

        Returns:
            Their first states, and their dicts.

        Raises:
            ConfigError: There are more or fewer seeds than environments.
        """
        count = len(self.environments)
        if len(seeds) != count:
            raise ConfigError("wrong number of seeds", expected=count, found=len(seeds))
        started = [environment.reset(seed) for environment, seed in zip(self.environments, seeds, strict=True)]
        states, infos = [state for state, _ in started], [info for _, info in started]
        self._last = VectorStep(states, [0.0] * count, [False] * count, [False] * count, infos)
        return states, infos

    def step(self, actions: Sequence[int]) -> VectorStep:
        """Act in every environment whose episode goes on.

        Args:
            actions: An action for each of `running`, in this order.

        Raises:
            ConfigError: There are more or fewer actions than running environments, or none is running.
        """
        running = self.running
        if self._last is None or not running or len(actions) != len(running):
            expected = f"{len(running)} actions, for the environments that are running"
            raise ConfigError("wrong number of actions", expected=expected, found=len(actions), fix="reset first")
        rows = [*zip(self._last.states, self._last.terminated, self._last.truncated, self._last.infos, strict=True)]
        rewards = [0.0] * len(rows)
        for place, action in zip(running, actions, strict=True):
            state, rewards[place], terminated, truncated, info = self.environments[place].step(action)
            rows[place] = (state, terminated, truncated, info)
        self._last = VectorStep(
            states=[row[0] for row in rows],
            rewards=rewards,
            terminated=[row[1] for row in rows],
            truncated=[row[2] for row in rows],
            infos=[row[3] for row in rows],
        )
        return self._last
