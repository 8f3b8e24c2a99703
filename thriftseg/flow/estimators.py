"""Estimators of flow: their protocol, and how to get one by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.errors import ConfigError

_ESTIMATORS = {"dis": ("dis", "DIS"), "raft": ("raft", "RAFT")}


@runtime_checkable
class FlowEstimator(Protocol):
    """Dense flow between two frames.

    Its `repr` names every setting that the flow depends on: by it, stored flow and stored labels are kept apart. It can
    be pickled, so that worker processes get a copy. A text `software`, such as "opencv 5.0.0", is noted beside stored
    flow where there is one.

    Example:
        >>> class Still:
        ...     def estimate(self, a, b):
        ...         return np.zeros((2, *a.shape[:2]), np.float32)
        >>> frame = np.zeros((4, 6, 3), np.uint8)
        >>> isinstance(Still(), FlowEstimator), Still().estimate(frame, frame).shape
        (True, (2, 4, 6))
    """

    def estimate(self, a: UInt8Array, b: UInt8Array) -> Float32Array:
        """Flow between two frames.

        Args:
            a: Frame a, (H, W, 3) uint8 RGB.
            b: Frame b, of the same shape.

        Returns:
            Flow a -> b, (2, H, W) float32.
        """


def create_estimator(name: str, **settings: Any) -> FlowEstimator:
    """An estimator by name.

    Args:
        name: "dis" or "raft".
        **settings: Arguments of `DIS` or `RAFT`.

    Raises:
        ConfigError: There is no such estimator, or a setting is out of range.

    Example:
        >>> create_estimator("dis", preset="fast")
        DIS(preset='fast')
    """
    if name not in _ESTIMATORS:
        raise ConfigError("no such flow estimator", expected=" or ".join(_ESTIMATORS), found=repr(name))
    module, cls = _ESTIMATORS[name]
    estimator: FlowEstimator = getattr(import_module(f"thriftseg.flow.{module}"), cls)(**settings)
    return estimator


def estimator_of(flow: str = "dis", flow_weights: str | Path | None = None) -> FlowEstimator:
    """The estimator that a command or config names.

    Args:
        flow: "dis" or "raft".
        flow_weights: Weights of RAFT: a file, or a name of torchvision.

    Raises:
        ConfigError: There is no such estimator, or DIS is given weights.

    Example:
        >>> estimator_of("dis")
        DIS(preset='medium')
        >>> try:
        ...     estimator_of("dis", flow_weights="raft.pth")
        ... except ConfigError as error:
        ...     print(error)
        DIS has no weights; found --flow_weights raft.pth; fix: add --flow raft
    """
    if flow == "dis" and flow_weights is not None:
        raise ConfigError("DIS has no weights", found=f"--flow_weights {flow_weights}", fix="add --flow raft")
    return create_estimator(flow, **({"weights": flow_weights} if flow == "raft" else {}))


def check_frames(a: UInt8Array, b: UInt8Array) -> None:
    """Refuse frames that no flow leads between.

    Raises:
        ValueError: The shapes disagree or are not (H, W, 3), or the type is not uint8.
    """
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 from 0 to 255, found {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"frames must both have the same shape (H, W, 3), found {a.shape} and {b.shape}")
