"""Lightning's log handler keeps the stream it finds when it is imported, so that must not be one test's capture."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch  # noqa: F401
import pytest
import torch

from tests.cli.configs.recipe_data import RecipeData, make_recipe_data


@pytest.fixture(scope="session")
def recipe_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RecipeData]:
    """A function that gives a data set and the labels that recipes need, made once per session."""
    made: dict[str, RecipeData] = {}

    def get(dataset: str) -> RecipeData:
        if dataset not in made:
            made[dataset] = make_recipe_data(dataset, tmp_path_factory.mktemp("recipes"))
        return made[dataset]

    return get


@pytest.fixture(scope="session")
def small_raft(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of RAFT's small network, random."""
    from torchvision.models.optical_flow import raft_small

    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return str(path)
