"""The annotation of a recorded state, as an environment to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.metrics import RewardRule, annotation_reward, check_reward_rule
from thriftseg.stores import TypeSet, TypeState
from thriftseg.types import AnnotationState

CLICK, MASK = 0, 1
"""The actions, in the order of the released agent."""


class TypeSetEnvironment:
    """Replays what came of annotating an object in a frame: an `AnnotationEnvironment` with two actions.

    Action 0 clicks, action 1 draws the mask, which ends the episode; otherwise it ends after `max_steps` actions.
    Nothing in it is random, and files are read when an episode starts or goes on.

    Args:
        type_set: The set that holds the state.
        state: What was recorded.
        reward: How actions are rewarded, see `annotation_reward`.
        second_price: Quality that a second has to bring, for the reward "net".
        clicks_per_action: Clicks that action 0 stands for.
        charge_overhead: Count what the first click costs beside itself (1 s) as time spent.
        max_steps: Actions in an episode at most.
        embeddings: Show stored embeddings of this encoder in place of the frame, see `TypeSet.embedding`.

    Raises:
        ConfigError: Fewer clicks were recorded than an episode can have, or a setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg.costs import CostModel
        >>> from thriftseg.datasets import write_label_png
        >>> from thriftseg.stores import Annotated, RoundKey
        >>> price, mask = CostModel.named("polygon"), np.ones((48, 80), np.uint8)
        >>> click, drawn = Annotated(mask, 0.75, price.clicks(1, objects=0)), Annotated(mask, 1.0, price.mask())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     states, frame = TypeSet.create(Path(folder, "set"), "davis", folder), Path(folder, "bear", "00015.png")
        ...     write_label_png(frame, mask)
        ...     states.write_round(
        ...         RoundKey("bear", 1, 0), 15, frame, mask=mask, quality=0.5,
        ...         clicks=[click], drawn=drawn, overhead=price.clicks(0, objects=1),
        ...     )
        ...     environment = TypeSetEnvironment(states, states.states()[0], max_steps=1)
        ...     environment.reset()[1], environment.step(0)[1:]  # 0.25 better in 2.5 seconds
        ({'quality': 0.5}, (0.1, False, True, {'quality': 0.75}))
    """

    num_actions = 2

    def __init__(
        self,
        type_set: TypeSet,
        state: TypeState,
        *,
        reward: RewardRule = "paper",
        second_price: float = 0.0,
        clicks_per_action: int = 1,
        charge_overhead: bool = True,
        max_steps: int = 5,
        embeddings: str | None = None,
    ) -> None:
        check_reward_rule(reward)
        if min(clicks_per_action, max_steps) < 1 or len(state.clicks) < clicks_per_action * max_steps:
            raise ConfigError(
                f"state {state.id} has no record of so many clicks",
                path=type_set.root,
                expected=f"{max_steps} steps of {clicks_per_action} clicks",
                found=f"{len(state.clicks)} clicks",
                fix="allow fewer steps or clicks per action, or record more clicks",
            )
        self.state, self.reward, self.second_price, self.max_steps = state, reward, second_price, max_steps
        self.clicks_per_action, self.charge_overhead = clicks_per_action, charge_overhead
        self._type_set, self._embeddings = type_set, embeddings
        self._image: Tensor | None = None
        self._actions: list[int] = []
        self._quality, self._seconds = state.quality, 0.0

    def reset(self, seed: int | None = None) -> tuple[AnnotationState, dict[str, Any]]:
        """Go back to the mask before any action.

        Args:
            seed: Unused, as nothing is random.

        Returns:
            First state, and its `quality`.

        Raises:
            DatasetError: A file is missing or unreadable.
        """
        if self._embeddings is not None:
            self._image = torch.from_numpy(self._type_set.embedding(self.state, self._embeddings)).view(-1, 1, 1)
        else:
            frame = self._type_set.read_image(self.state.image)
            self._image = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
        self._actions, self._quality, self._seconds = [], self.state.quality, 0.0
        return self._shown(self._image, self.state.mask), {"quality": self._quality}

    def step(self, action: int) -> tuple[AnnotationState, float, bool, bool, dict[str, Any]]:
        """Click, or draw the mask.

        Args:
            action: 0 for clicks, 1 for the mask.

        Returns:
            Next state, reward, whether the mask is drawn, whether the steps are used up, and the `quality`.

        Raises:
            ConfigError: There is no such action, or the episode is over.
            DatasetError: A file is missing or unreadable.
        """
        if action not in (CLICK, MASK) or self._image is None or self._is_over():
            raise ConfigError(
                "no such action, or the episode is over", expected="0 or 1", found=action, fix="reset first"
            )
        outcome, seconds = self.state.drawn, self.state.drawn.cost.seconds
        if action == CLICK:
            done = len(self._actions) * self.clicks_per_action
            clicks = self.state.clicks[done : done + self.clicks_per_action]
            outcome, seconds = clicks[-1], sum(click.cost.seconds for click in clicks)
        first_click = action == CLICK and CLICK not in self._actions
        overhead = self.state.overhead.seconds if first_click and self.charge_overhead else 0.0
        self._actions.append(action)
        self._seconds += seconds + overhead
        before, self._quality = self._quality, outcome.quality
        reward = annotation_reward(
            self.reward,
            before=before,
            after=self._quality,
            initial=self.state.quality,
            seconds=seconds,
            spent=self._seconds,
            final=self._is_over(),
            overhead=overhead,
            second_price=self.second_price,
        )
        drawn = action == MASK
        shown = self._shown(self._image, outcome.mask)
        return shown, reward, drawn, self._is_over() and not drawn, {"quality": self._quality}

    def _is_over(self) -> bool:
        return MASK in self._actions or len(self._actions) >= self.max_steps

    def _shown(self, image: Tensor, mask: Path) -> AnnotationState:
        pixels = torch.from_numpy(self._type_set.read_mask(mask))
        return AnnotationState(self.state.image_id, image, pixels, self._seconds)
