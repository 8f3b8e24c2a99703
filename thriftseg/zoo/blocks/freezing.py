"""Parts of a network that training leaves as they are."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_batch_norm(network: nn.Module) -> None:
    """Let batch normalisation use and keep its running statistics, in place.

    Call it after every `network.train()`, which brings back the statistics of the batch.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
        >>> freeze_batch_norm(network)
        >>> network.training, network[1].training
        (True, False)
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
