from __future__ import annotations

import numpy as np
import torch


def tensors(*arrays: np.ndarray, dtype: torch.dtype = torch.uint8) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)).to(dtype)[None] for array in arrays]
