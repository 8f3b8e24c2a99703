"""Label generators: they turn little human work into training labels and write them to a label store."""

from __future__ import annotations

from thriftseg.labels.agreement import Agreement
from thriftseg.labels.clicks import ClickSummary, generate_clicks, import_clicks, label_clicks
from thriftseg.labels.engine import LabelJob, run_job
from thriftseg.labels.exchange import ExportSummary, ImportSummary, export_labels, import_labels
from thriftseg.labels.objects import ObjectMap, ObjectUnit, TrackedObject, objects_of
from thriftseg.labels.propagate import PropagationSummary, UnfinishedError, label_propagate
from thriftseg.labels.propagation_plan import PropagationPlan, plan_propagation
from thriftseg.labels.propagators import FlowPropagator, NearestPropagator, Propagated, Propagator, create_propagator

__all__ = [
    "Agreement",
    "ClickSummary",
    "ExportSummary",
    "FlowPropagator",
    "ImportSummary",
    "LabelJob",
    "NearestPropagator",
    "ObjectMap",
    "ObjectUnit",
    "Propagated",
    "PropagationPlan",
    "PropagationSummary",
    "Propagator",
    "TrackedObject",
    "UnfinishedError",
    "create_propagator",
    "export_labels",
    "generate_clicks",
    "import_clicks",
    "import_labels",
    "label_clicks",
    "label_propagate",
    "objects_of",
    "plan_propagation",
    "run_job",
]
