"""What the examples in docstrings share with the tests."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_compute_thread() -> None:
    """Threads cost small tensors more than they give, and a busy machine stalls them."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
