from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.metrics.reference import GOLDEN


@pytest.fixture(scope="session")
def golden_cases() -> list[dict[str, Any]]:
    """Values of the plain loops on seeded scenes."""
    return json.loads(GOLDEN.read_text())


@pytest.fixture(scope="session")
def published(reference_dir: Path) -> Path:
    """Values of published implementations on real masks, with the masks."""
    return reference_dir / "golden" / "metrics"


def tensors(*arrays: np.ndarray, dtype: torch.dtype = torch.uint8) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)).to(dtype)[None] for array in arrays]


def read_ids(path: Path) -> np.ndarray:
    return np.array(Image.open(path), np.uint8)


def shifted(ids: np.ndarray, dy: int, dx: int) -> np.ndarray:
    height, width = ids.shape
    rows, columns = np.arange(height) - dy, np.arange(width) - dx
    return ids[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]


def minimum_filtered(ids: np.ndarray) -> np.ndarray:
    for _ in range(2):
        padded = np.pad(ids, 1, mode="edge")
        height, width = ids.shape
        ids = np.min([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    return shifted(ids, -1, 2)


@pytest.fixture(scope="session")
def camvid_pairs(published: Path) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Kind of prediction -> file -> (truth, prediction), CamVid ids 0..11."""
    folder = published / "camvid_labels"
    truth = {path.name: read_ids(path) for path in sorted((folder / "gt").glob("*.png"))}
    return {
        "shift": {name: (ids, shifted(ids, 2, 3)) for name, ids in truth.items()},
        "minfilter": {name: (ids, minimum_filtered(ids)) for name, ids in truth.items()},
        "noise": {name: (ids, read_ids(folder / "pred_noise" / name)) for name, ids in truth.items()},
    }
