"""Label generators: they turn little human work into training labels and write them to a label store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.exchange.labels import ExportSummary, ImportSummary, export_labels, import_labels
from thriftseg.labels.clicking.generate import ClickSummary, generate_clicks, import_clicks, label_clicks
from thriftseg.labels.clicking.point_maps import write_point_maps
from thriftseg.labels.jobs.engine import LabelJob, run_job
from thriftseg.labels.jobs.storing import UnfinishedError
from thriftseg.labels.objects import ObjectMap, ObjectUnit, TrackedObject, objects_of
from thriftseg.labels.propagation.again import Repropagation, RepropagationSummary, label_repropagate
from thriftseg.labels.propagation.again_plan import RepropagationPlan, plan_repropagation
from thriftseg.labels.propagation.generate import PropagationSummary, label_propagate
from thriftseg.labels.propagation.plan import PropagationPlan, plan_propagation
from thriftseg.labels.propagation.propagators import (
    FlowPropagator,
    NearestPropagator,
    Propagated,
    Propagator,
    create_propagator,
)
from thriftseg.labels.refining.coarse import CoarsePolygon, CoarseStyle, CoarseSummary, generate_coarse, label_coarse
from thriftseg.labels.refining.generate import RefineSummary, label_refine
from thriftseg.labels.refining.instances import RefineRule
from thriftseg.labels.refining.prompters import Candidates, Prompt, Prompter, create_prompter
from thriftseg.labels.review.agreement import Agreement
from thriftseg.labels.review.decide import DecisionSummary, ReviewList, apply_decisions, least_confident
from thriftseg.labels.review.inspect import InspectedLabel, Inspection, inspect_labels
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.labels.boxes.box2seg import Box2SegSegmenter, FineTuning
    from thriftseg.labels.boxes.generate import BoxSummary, LabelQuality, label_boxes
    from thriftseg.labels.boxes.segmenters import BoxSegmenter, PromptedSegmenter
    from thriftseg.labels.boxes.settings import MaskFilter
    from thriftseg.labels.refining.fill import FillSummary, label_fill

__all__ = [
    "Agreement",
    "Box2SegSegmenter",
    "BoxSegmenter",
    "BoxSummary",
    "Candidates",
    "ClickSummary",
    "CoarsePolygon",
    "CoarseStyle",
    "CoarseSummary",
    "DecisionSummary",
    "ExportSummary",
    "FillSummary",
    "FineTuning",
    "FlowPropagator",
    "ImportSummary",
    "InspectedLabel",
    "Inspection",
    "LabelJob",
    "LabelQuality",
    "MaskFilter",
    "NearestPropagator",
    "ObjectMap",
    "ObjectUnit",
    "Prompt",
    "PromptedSegmenter",
    "Prompter",
    "Propagated",
    "PropagationPlan",
    "PropagationSummary",
    "Propagator",
    "RefineRule",
    "RefineSummary",
    "Repropagation",
    "RepropagationPlan",
    "RepropagationSummary",
    "ReviewList",
    "TrackedObject",
    "UnfinishedError",
    "apply_decisions",
    "create_prompter",
    "create_propagator",
    "export_labels",
    "generate_clicks",
    "generate_coarse",
    "import_clicks",
    "import_labels",
    "inspect_labels",
    "label_boxes",
    "label_clicks",
    "label_coarse",
    "label_fill",
    "label_propagate",
    "label_refine",
    "label_repropagate",
    "least_confident",
    "objects_of",
    "plan_propagation",
    "plan_repropagation",
    "run_job",
    "write_point_maps",
]

_HOMES = {  # these import torch
    "Box2SegSegmenter": "boxes.box2seg",
    "BoxSegmenter": "boxes.segmenters",
    "BoxSummary": "boxes.generate",
    "FillSummary": "refining.fill",
    "FineTuning": "boxes.box2seg",
    "LabelQuality": "boxes.generate",
    "MaskFilter": "boxes.settings",
    "PromptedSegmenter": "boxes.segmenters",
    "label_boxes": "boxes.generate",
    "label_fill": "refining.fill",
}

__getattr__ = lazy_names(__name__, _HOMES)
