"""Settings of the quickstart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thriftseg.datamodules import MixturePart
from thriftseg.errors import ConfigError
from thriftseg.resources import config_path


@dataclass(frozen=True)
class StudentConfig:
    """A student and the labels it learns from.

    Attributes:
        key: Name of its folder.
        name: Name in table and plot.
        pattern: Mixture pattern of its labels, see `Mixture`.
        parts: Mixture parts of its labels, in place of a pattern.

    Example:
        >>> {student.key: student.parts or student.pattern for student in QuickstartConfig.load().students}["manual"]
        'N1'
    """

    key: str
    name: str
    pattern: str | None = None
    parts: list[MixturePart] | None = None


@dataclass(frozen=True)
class QuickstartConfig:
    """Settings of the quickstart; `configs/quickstart.yaml` holds the values in use.

    Attributes:
        train_clips: Clips to train on, each with one annotated frame.
        val_clips: Clips to score on, each with one annotated frame.
        frames: Frames per clip.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        flow_offsets: Offsets from the annotated frame that labels are propagated to.
        click_min_component: Pixels of the smallest region without instances that gets a click.
        network: Name of the student's network, see `thriftseg.zoo.list_models`.
        network_options: Further arguments of the network.
        start: Published checkpoint whose encoder all students take over and keep, see `thriftseg.zoo.load`; they
            learn the whole network from random weights by default.
        crop: Height and width of training crops.
        scale: Range of random scales.
        batch_size: Samples per step.
        epochs: Passes over as many labels as there are clips; all students take as many steps.
        learning_rate: Peak learning rate of AdamW.
        warmup_steps: Steps of linear warm-up.
        weight_decay: Weight decay of AdamW.
        demo_frames: Frames of the video of the best student.
        students: The students, each trained from the same initial weights.

    Example:
        >>> config = QuickstartConfig.load()
        >>> config.steps == config.epochs * (config.train_clips // config.batch_size)
        True
    """

    train_clips: int
    val_clips: int
    frames: int
    height: int
    width: int
    flow_offsets: list[int]
    click_min_component: int
    network: str
    crop: tuple[int, int]
    scale: tuple[float, float]
    batch_size: int
    epochs: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    demo_frames: int
    students: list[StudentConfig]
    network_options: dict[str, Any] = field(default_factory=dict)
    start: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError("epochs of a quickstart", expected="at least 1", found=self.epochs)

    @property
    def steps(self) -> int:
        """Steps of each student."""
        return self.epochs * max(1, self.train_clips // self.batch_size)

    @classmethod
    def load(cls, path: str | Path | None = None) -> QuickstartConfig:
        """Read and check a YAML file; the shipped one by default.

        Raises:
            ConfigError: The file is missing, or a value is missing, unknown or of the wrong type.
        """
        from jsonargparse import ArgumentError, ArgumentParser

        path = Path(path) if path is not None else config_path("quickstart.yaml")
        if not path.is_file():
            raise ConfigError("no such config", path=path, fix="leave --config out to use the shipped one")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls)
        try:
            values = parser.instantiate_classes(parser.parse_path(str(path)))
        except ArgumentError as error:
            raise ConfigError("not a quickstart config", path=path, found=" ".join(str(error).split())) from error
        return cls(**vars(values))
