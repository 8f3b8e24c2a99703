"""Options that choose a network and how it segments a frame, shared by the commands that run one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.zoo import SlidingWindow, WholeImage


@dataclass(frozen=True)
class InferenceOptions:
    """The network, and how it segments a frame.

    Attributes:
        weights: Published weights (`thriftseg zoo list`), by name, path or hf:ORG/NAME; a checkpoint written by
            `thriftseg fit`; or an ONNX file written by `thriftseg zoo export`.
        inference: The whole frame at once, or a window that slides over it; as in training's evaluation if unset.
        crop: Height and width of the window.
        stride: Step between windows, down and to the right.
        resize: Height and width to work at; as in training's evaluation if unset.
    """

    weights: str
    inference: Literal["whole", "sliding"] | None = None
    crop: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    resize: tuple[int, int] | None = None

    def find(self) -> WholeImage | SlidingWindow | None:
        """The inference; `None` where it is left to the weights.

        Raises:
            ConfigError: The options contradict each other.
        """
        from thriftseg.zoo import SlidingWindow, WholeImage

        if self.inference != "sliding":
            if self.crop or self.stride:
                raise ConfigError("--crop and --stride belong to sliding inference", fix="add --inference sliding")
            return WholeImage() if self.inference else None
        if not self.crop:
            raise ConfigError("sliding inference needs a window", fix="add --crop H W, such as the training crop")
        return SlidingWindow(self.crop, self.stride)
