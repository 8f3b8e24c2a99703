"""The data module of agents that choose how to annotate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from torch.utils.data import DataLoader, Dataset

from thriftseg.datamodules.base import VideoDataModule, check_counts
from thriftseg.datamodules.eva_vos.type_environment import TypeSetEnvironment
from thriftseg.datamodules.eva_vos.video_split import split_by_video
from thriftseg.datamodules.sampling import Draw, OrderedSampler
from thriftseg.datasets import shard
from thriftseg.errors import ConfigError
from thriftseg.metrics import RewardRule
from thriftseg.stores import TypeSet, TypeState
from thriftseg.types import EpisodeBatch

BuildEnvironment = Callable[[TypeState], TypeSetEnvironment]


class Episode(TypedDict):
    """An environment, and the seed of everything random in its episode."""

    environment: TypeSetEnvironment
    seed: int


class AnnotationTypeDataModule(VideoDataModule):
    """Environments that replay the recorded states of a type set.

    Yields `types.EpisodeBatch`: a batch is as many environments as are annotated side by side. A training epoch passes
    over all objects and draws some states of each anew. Training and validation share no video.

    Args:
        type_set: Folder of the set, see `thriftseg.stores.type_set`.
        frames_root: Folder of the data set that it was made from; its environment variable by default.
        embeddings: Show stored embeddings of this encoder, such as "sam", in place of frames.
        held_out: Share of the videos to validate on, chosen by a fixed rule.
        val_list: File with the names of the videos to validate on instead, one a line.
        states_per_object: States of an object that a training epoch draws.
        reward: How actions are rewarded, see `thriftseg.metrics.annotation_reward`.
        second_price: Quality that a second has to bring; only with the reward "net", which needs it.
        train_clicks_per_action: Clicks that one action stands for, in training and validation.
        charge_overhead: Count what the first click costs beside itself (1 s) as time spent.
        max_steps: Actions in an episode at most.
        batch_size: Environments per batch and process.
        seed: Non-negative seed; by default that of `seed_everything`, else 0.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg.costs import CostModel
        >>> from thriftseg.stores import Annotated, RoundKey
        >>> price, mask = CostModel.named("polygon"), np.ones((48, 80), np.uint8)
        >>> click, drawn = Annotated(mask, 0.75, price.clicks(1, objects=0)), Annotated(mask, 1.0, price.mask())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     states, val_list = TypeSet.create(Path(folder, "set"), "davis", folder), Path(folder, "val.txt")
        ...     for video in ("bear", "goat"):
        ...         states.write_round(
        ...             RoundKey(video, 1, 0), 15, Path(folder, video, "00015.jpg"), mask=mask, quality=0.5,
        ...             clicks=[click], drawn=drawn, overhead=price.clicks(0, objects=1),
        ...         )
        ...     size = val_list.write_text("goat")
        ...     data = AnnotationTypeDataModule(states.root, frames_root=Path(folder), val_list=val_list, max_steps=1)
        ...     data.setup()
        ...     [batch] = data.val_dataloader()
        type set ...: frames from ...
          train: 1 states of 1 videos; val: 1 states of 1 videos
        >>> [environment.state.id for environment in batch["environments"]]
        ['goat/001/00']
    """

    def __init__(
        self,
        type_set: Path,
        *,
        frames_root: Path | None = None,
        embeddings: str | None = None,
        held_out: float = 0.15,
        val_list: Path | None = None,
        states_per_object: int = 5,
        reward: RewardRule = "paper",
        second_price: float = 0.0,
        train_clicks_per_action: int = 1,
        charge_overhead: bool = True,
        max_steps: int = 5,
        batch_size: int = 40,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, 0, seed)  # environments read their files in the main process
        check_counts(
            states_per_object=(states_per_object, 1),
            train_clicks_per_action=(train_clicks_per_action, 1),
            max_steps=(max_steps, 1),
        )
        if (reward == "net") != (second_price > 0):
            raise ConfigError(
                "price of a second",
                expected="above 0 with the reward net, 0 with others",
                found=f"{second_price} with the reward {reward}",
            )
        self.type_set = TypeSet(type_set, frames_root)
        self.held_out, self.val_list, self.states_per_object = held_out, val_list, states_per_object
        self._environment: BuildEnvironment = partial(
            TypeSetEnvironment,
            self.type_set,
            reward=reward,
            second_price=second_price,
            clicks_per_action=train_clicks_per_action,
            charge_overhead=charge_overhead,
            max_steps=max_steps,
            embeddings=embeddings,
        )
        self._train: TrainingEpisodes | None = None
        self._val: ScoredEpisodes | None = None

    def setup(self, stage: str | None = None) -> None:
        """List the states of both splits.

        Args:
            stage: fit, validate, test or predict; all the same.

        Raises:
            DatasetError: The set is missing, empty or damaged.
            ConfigError: A split is empty, or a state has too few clicks on record.
        """
        states = self.type_set.states()
        train, val, summary = split_by_video(states, self.held_out, self.val_list, "states")
        for state in states:
            self._environment(state)
        self._train = TrainingEpisodes(train, self.states_per_object, self._environment, self.seed)
        self._val = ScoredEpisodes(shard(list(enumerate(val)), *self._place()), self._environment, self.seed)
        self._announce(f"type set {self.type_set.root}: frames from {self.type_set.frames_root}\n  {summary}")

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled environments of this rank."""
        return self._training_loader(self._train, collate_episodes)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """This rank's part of the validation states, each once."""
        if self._val is None:
            raise ConfigError("no validation states", fix="call setup first")
        return self._loader(self._val, OrderedSampler(len(self._val)), self.batch_size, collate_episodes)


class TrainingEpisodes(Dataset[Episode]):
    """Some states of every object, drawn anew in each epoch by (seed, epoch, object) alone.

    Args:
        states: All states, those of an object in succession.
        per_object: States of an object that an epoch draws; all of an object that has fewer.
        build: Builds the environment of a state.
        seed: Non-negative seed.
    """

    def __init__(self, states: Sequence[TypeState], per_object: int, build: BuildEnvironment, seed: int) -> None:
        self._objects = [list(group) for _, group in groupby(states, key=lambda state: state.key[:2])]
        self._slots = [(k, slot) for k, group in enumerate(self._objects) for slot in range(len(group[:per_object]))]
        self._build, self._seed = build, seed

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, draw: Draw | int) -> Episode:
        """An episode.

        Args:
            draw: What the sampler drew; a plain index stands for epoch 0.
        """
        epoch, position, index = draw if isinstance(draw, Draw) else Draw(0, draw, draw)
        number, slot = self._slots[index]
        states = self._objects[number]
        chosen = np.random.default_rng((self._seed, epoch, number)).permutation(len(states))[slot]
        return {"environment": self._build(states[chosen]), "seed": _episode_seed(self._seed, 1 + epoch, position)}


class ScoredEpisodes(Dataset["Episode | None"]):
    """Every state once; `None` stands for an empty list and keeps processes in step.

    Args:
        states: The states with their places among those of all processes.
        build: Builds the environment of a state.
        seed: Non-negative seed.
    """

    def __init__(self, states: Sequence[tuple[int, TypeState]], build: BuildEnvironment, seed: int) -> None:
        self._states, self._build, self._seed = states, build, seed

    def __len__(self) -> int:
        return max(1, len(self._states))

    def __getitem__(self, index: int) -> Episode | None:
        """An episode."""
        if not self._states:
            return None
        place, state = self._states[index]
        return {"environment": self._build(state), "seed": _episode_seed(self._seed, 0, place)}


def collate_episodes(items: Sequence[Episode | None]) -> EpisodeBatch:
    """Put environments side by side."""
    present = [item for item in items if item is not None]
    return {"environments": [item["environment"] for item in present], "seeds": [item["seed"] for item in present]}


def _episode_seed(*words: int) -> int:
    """A seed of 63 bits, hashed from non-negative integers."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
