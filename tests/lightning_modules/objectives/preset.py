"""Modules with the objective of a recipe, whose settings may stand beside those of the module."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from thriftseg.lightning_modules import (
    Objective,
    SemanticSegmentation,
    TDNetDistillation,
    TestTimeTuning,
    WeClick,
)
from thriftseg.zoo import SemanticNetwork

STAGE_ONE = {"distillation_weight": 0.0, "memory_flow_weight": 0.0}


def preset(kind: type[Objective], network: SemanticNetwork, teacher: Any = None, **settings: Any) -> Any:
    own = {name: settings.pop(name) for name in inspect.signature(kind).parameters if name in settings}
    return SemanticSegmentation(network, kind(**own), teacher=teacher, **settings)


def weclick(network: SemanticNetwork, teacher: Any = None, **settings: Any) -> Any:
    """Stage one where there is no teacher."""
    taught = teacher is not None or "teacher_weights" in settings
    return preset(WeClick, network, teacher, **({} if taught else STAGE_ONE) | settings)


tdnet_distillation = functools.partial(preset, TDNetDistillation)
tuned = functools.partial(preset, TestTimeTuning, optimizer=functools.partial(torch.optim.SGD, lr=0.004, momentum=0.9))
