"""Label generators: they turn little human work into training labels and write them to a label store."""

from __future__ import annotations

from thriftseg.labels.clicks import ClickSummary, generate_clicks, import_clicks, label_clicks
from thriftseg.labels.propagate import (
    FlowPropagator,
    Propagated,
    PropagationSummary,
    Propagator,
    label_propagate,
)
from thriftseg.labels.propagation_plan import PropagationPlan, plan_propagation

__all__ = [
    "ClickSummary",
    "FlowPropagator",
    "Propagated",
    "PropagationPlan",
    "PropagationSummary",
    "Propagator",
    "generate_clicks",
    "import_clicks",
    "label_clicks",
    "label_propagate",
    "plan_propagation",
]
