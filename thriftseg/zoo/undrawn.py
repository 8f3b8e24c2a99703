"""Networks whose weights are loaded at once need no random ones before, which take longer to draw than to load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS = {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}


class Undrawn(TorchFunctionMode):
    """Weights of networks that are built in this context are whatever the memory holds.

    Example:
        >>> with Undrawn():
        ...     layer = nn.Linear(3, 5)
        >>> layer.weight.shape
        torch.Size([5, 3])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return kwargs.get("tensor", *args[:1]) if func in _DRAWS else func(*args, **kwargs)
