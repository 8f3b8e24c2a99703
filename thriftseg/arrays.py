"""Names for the numpy arrays that cross room borders."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[np.generic]
UInt8Array = npt.NDArray[np.uint8]
UInt16Array = npt.NDArray[np.uint16]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float16Array = npt.NDArray[np.float16]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

Scalar = TypeVar("Scalar", bound=np.generic)
"""Type of the elements of an array, where a function keeps it."""
