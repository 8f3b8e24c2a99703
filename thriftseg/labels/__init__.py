"""Label generators: they turn little human work into training labels and write them to a label store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.labels.boxes.box2seg import Box2SegSegmenter
    from thriftseg.labels.boxes.generate import BoxSummary, LabelQuality, label_boxes
    from thriftseg.labels.boxes.grabcut import BoxGrabCut
    from thriftseg.labels.boxes.segmenters import BoxSegmenter, PromptedSegmenter
    from thriftseg.labels.boxes.settings import FineTuning, MaskFilter
    from thriftseg.labels.clicking.generate import ClickSummary, generate_clicks, import_clicks, label_clicks
    from thriftseg.labels.clicking.point_maps import write_point_maps
    from thriftseg.labels.cvat_sync import SyncSummary, sync_cvat
    from thriftseg.labels.jobs.generate import generate
    from thriftseg.labels.jobs.job import FrameJob, LabelJob, LabelOutcome, LabelTask, RelabelTask, annotated_frames
    from thriftseg.labels.jobs.summary import Summary, UnfinishedError
    from thriftseg.labels.methods import Licensed
    from thriftseg.labels.propagation.again import (
        Repropagation,
        RepropagationSummary,
        label_repropagate,
        propagator_like,
    )
    from thriftseg.labels.propagation.again_plan import Correction, RepropagationPlan, plan_repropagation
    from thriftseg.labels.propagation.generate import PropagationSummary, label_propagate
    from thriftseg.labels.propagation.merging import ChannelProbabilities
    from thriftseg.labels.propagation.plan import PropagationPlan, plan_propagation
    from thriftseg.labels.propagation.propagators.cutie import CutiePropagator
    from thriftseg.labels.propagation.propagators.flow import FlowPropagator
    from thriftseg.labels.propagation.propagators.following import follow
    from thriftseg.labels.propagation.propagators.hf import HFPropagator
    from thriftseg.labels.propagation.propagators.nearest import NearestPropagator
    from thriftseg.labels.propagation.propagators.protocol import (
        ObjectProbabilities,
        Propagated,
        Propagator,
        Tracker,
        TracksObjects,
    )
    from thriftseg.labels.propagation.propagators.registry import PROPAGATORS, create_propagator
    from thriftseg.labels.propagation.propagators.sam2 import SAM2Propagator
    from thriftseg.labels.propagation.propagators.stm import STMPropagator
    from thriftseg.labels.refining.coarse import (
        CoarsePolygon,
        CoarseStyle,
        CoarseSummary,
        generate_coarse,
        label_coarse,
    )
    from thriftseg.labels.refining.fill import FillSummary, label_fill
    from thriftseg.labels.refining.generate import RefineSummary, label_refine
    from thriftseg.labels.refining.instances import RefineRule
    from thriftseg.labels.refining.prompters.grabcut import GrabCutPrompter
    from thriftseg.labels.refining.prompters.protocol import (
        Candidates,
        CorrectsMasks,
        Embedded,
        NumCandidates,
        Prompt,
        Prompter,
    )
    from thriftseg.labels.refining.prompters.registry import PROMPTERS, create_prompter
    from thriftseg.labels.review.agreement import Agreement
    from thriftseg.labels.review.decide import (
        DecisionSummary,
        DoubtfulLabel,
        ReviewList,
        apply_decisions,
        least_confident,
        record_decisions,
    )
    from thriftseg.labels.review.inspect import InspectedLabel, Inspection, inspect_labels
    from thriftseg.labels.review.pictures import draw_sheet, plot_by_offset, write_sheet
    from thriftseg.labels.review.table import DecisionLine, write_decisions
    from thriftseg.labels.text.concepts import ConceptFinder
    from thriftseg.labels.text.generate import TextSummary, label_text
    from thriftseg.labels.text.painting import FoundObject, paint_objects
    from thriftseg.labels.text.words import class_words

__getattr__, __dir__, __all__ = face(
    __name__,
    moved={
        "export_labels": "thriftseg.exchange.export_labels",
        "import_labels": "thriftseg.exchange.import_labels",
        "ExportSummary": "thriftseg.exchange.ExportSummary",
        "ImportSummary": "thriftseg.exchange.ImportSummary",
        "ObjectMap": "thriftseg.stores.ObjectMap",
        "ObjectUnit": "thriftseg.stores.ObjectUnit",
        "TrackedObject": "thriftseg.stores.TrackedObject",
        "objects_of": "thriftseg.stores.objects_of",
    },
)
