"""Label generators: they turn little human work into training labels and write them to a label store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.labels.agreement import Agreement
from thriftseg.labels.click_maps import write_point_maps
from thriftseg.labels.clicks import ClickSummary, generate_clicks, import_clicks, label_clicks
from thriftseg.labels.coarse import CoarsePolygon, CoarseStyle, CoarseSummary, generate_coarse, label_coarse
from thriftseg.labels.engine import LabelJob, run_job
from thriftseg.labels.exchange import ExportSummary, ImportSummary, export_labels, import_labels
from thriftseg.labels.inspect import InspectedLabel, Inspection, inspect_labels
from thriftseg.labels.objects import ObjectMap, ObjectUnit, TrackedObject, objects_of
from thriftseg.labels.prompters import Candidates, Prompt, Prompter, create_prompter
from thriftseg.labels.propagate import PropagationSummary, label_propagate
from thriftseg.labels.propagation_plan import PropagationPlan, plan_propagation
from thriftseg.labels.propagators import FlowPropagator, NearestPropagator, Propagated, Propagator, create_propagator
from thriftseg.labels.refine import RefineSummary, label_refine
from thriftseg.labels.refinement import RefineRule
from thriftseg.labels.repropagate import Repropagation, RepropagationSummary, label_repropagate
from thriftseg.labels.repropagation_plan import RepropagationPlan, plan_repropagation
from thriftseg.labels.review import DecisionSummary, ReviewList, apply_decisions, least_confident
from thriftseg.labels.storing import UnfinishedError
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.labels.box2seg import Box2SegSegmenter, FineTuning
    from thriftseg.labels.box_segmenters import BoxSegmenter, PromptedSegmenter
    from thriftseg.labels.box_settings import MaskFilter
    from thriftseg.labels.boxes import BoxSummary, LabelQuality, label_boxes
    from thriftseg.labels.fill import FillSummary, label_fill

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
    "Box2SegSegmenter": "box2seg",
    "BoxSegmenter": "box_segmenters",
    "BoxSummary": "boxes",
    "FillSummary": "fill",
    "FineTuning": "box2seg",
    "LabelQuality": "boxes",
    "MaskFilter": "box_settings",
    "PromptedSegmenter": "box_segmenters",
    "label_boxes": "boxes",
    "label_fill": "fill",
}

__getattr__ = lazy_names(__name__, _HOMES)
