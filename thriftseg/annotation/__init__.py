"""A person in the loop: what to label next, who labels it, and what it costs.

Names are resolved when they are used, because OpenCV and the networks take time to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.annotation.samples import Sample
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.annotation.answer_files import EXCHANGES
    from thriftseg.annotation.budget import Budget, parse_amount
    from thriftseg.annotation.click_person import ClickPerson, corrective_click, median_click
    from thriftseg.annotation.cold_start import cold_start_sample, frame_descriptor, frame_motion
    from thriftseg.annotation.collect import CollectedTotal, collect_annotations
    from thriftseg.annotation.collect_settings import CollectSettings
    from thriftseg.annotation.collect_split import read_lists, split_videos, write_lists
    from thriftseg.annotation.eva_vos import EVAVOSResult, annotate_eva_vos
    from thriftseg.annotation.eva_vos_settings import EVAVOSSettings
    from thriftseg.annotation.files_annotator import FilesAnnotator
    from thriftseg.annotation.find_budget import BudgetProbe, FoundBudget, search_budget
    from thriftseg.annotation.frame_choice import FRAME_CHOICES, FrameChoice, create_frame_choice
    from thriftseg.annotation.granularity import Granularity, create_granularity
    from thriftseg.annotation.hvsa import HVSAResult, annotate_hvsa
    from thriftseg.annotation.hvsa_settings import HVSASettings
    from thriftseg.annotation.manual_labels import ManualLabels, paste
    from thriftseg.annotation.mask_annotation import Click, MaskAnnotation, MaskAnnotator
    from thriftseg.annotation.mask_files import MaskFilesPerson
    from thriftseg.annotation.mask_propagation import MASK_PROPAGATORS, MaskPropagator, create_mask_propagator
    from thriftseg.annotation.object_progress import ObjectProgress
    from thriftseg.annotation.object_video import ObjectVideo, list_objects
    from thriftseg.annotation.polygon_annotator import PolygonAnnotator
    from thriftseg.annotation.ranking import NetworkView, RankedSample, labelled_frames, rank_samples
    from thriftseg.annotation.ranking_files import write_annotation_tasks, write_ranking
    from thriftseg.annotation.ranking_objects import RankedAnnotation, rank_annotations, rank_cold_annotations
    from thriftseg.annotation.requests import Annotator, Answer, Request
    from thriftseg.annotation.selection import SampleSelection, SampleTable, frame_samples
    from thriftseg.annotation.superpixels import SuperpixelMethod
    from thriftseg.annotation.type_choice import TYPE_CHOICES, TypeChoice, create_type_choice
    from thriftseg.annotation.uncertainty import Neighbour, pixel_uncertainty

__all__ = [
    "EXCHANGES",
    "FRAME_CHOICES",
    "MASK_PROPAGATORS",
    "TYPE_CHOICES",
    "Annotator",
    "Answer",
    "Budget",
    "BudgetProbe",
    "Click",
    "ClickPerson",
    "CollectSettings",
    "CollectedTotal",
    "EVAVOSResult",
    "EVAVOSSettings",
    "FilesAnnotator",
    "FoundBudget",
    "FrameChoice",
    "Granularity",
    "HVSAResult",
    "HVSASettings",
    "ManualLabels",
    "MaskAnnotation",
    "MaskAnnotator",
    "MaskFilesPerson",
    "MaskPropagator",
    "Neighbour",
    "NetworkView",
    "ObjectProgress",
    "ObjectVideo",
    "PolygonAnnotator",
    "RankedAnnotation",
    "RankedSample",
    "Request",
    "Sample",
    "SampleSelection",
    "SampleTable",
    "SuperpixelMethod",
    "TypeChoice",
    "annotate_eva_vos",
    "annotate_hvsa",
    "cold_start_sample",
    "collect_annotations",
    "corrective_click",
    "create_frame_choice",
    "create_granularity",
    "create_mask_propagator",
    "create_type_choice",
    "frame_descriptor",
    "frame_motion",
    "frame_samples",
    "labelled_frames",
    "list_objects",
    "median_click",
    "parse_amount",
    "paste",
    "pixel_uncertainty",
    "rank_annotations",
    "rank_cold_annotations",
    "rank_samples",
    "read_lists",
    "search_budget",
    "split_videos",
    "write_annotation_tasks",
    "write_lists",
    "write_ranking",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Annotator": "requests",
        "Answer": "requests",
        "Budget": "budget",
        "BudgetProbe": "find_budget",
        "Click": "mask_annotation",
        "ClickPerson": "click_person",
        "CollectSettings": "collect_settings",
        "CollectedTotal": "collect",
        "EVAVOSResult": "eva_vos",
        "EVAVOSSettings": "eva_vos_settings",
        "EXCHANGES": "answer_files",
        "FRAME_CHOICES": "frame_choice",
        "FilesAnnotator": "files_annotator",
        "FoundBudget": "find_budget",
        "FrameChoice": "frame_choice",
        "Granularity": "granularity",
        "HVSAResult": "hvsa",
        "HVSASettings": "hvsa_settings",
        "MASK_PROPAGATORS": "mask_propagation",
        "ManualLabels": "manual_labels",
        "MaskAnnotation": "mask_annotation",
        "MaskAnnotator": "mask_annotation",
        "MaskFilesPerson": "mask_files",
        "MaskPropagator": "mask_propagation",
        "Neighbour": "uncertainty",
        "NetworkView": "ranking",
        "ObjectProgress": "object_progress",
        "ObjectVideo": "object_video",
        "PolygonAnnotator": "polygon_annotator",
        "RankedAnnotation": "ranking_objects",
        "RankedSample": "ranking",
        "Request": "requests",
        "SampleSelection": "selection",
        "SampleTable": "selection",
        "SuperpixelMethod": "superpixels",
        "TYPE_CHOICES": "type_choice",
        "TypeChoice": "type_choice",
        "annotate_eva_vos": "eva_vos",
        "annotate_hvsa": "hvsa",
        "cold_start_sample": "cold_start",
        "collect_annotations": "collect",
        "corrective_click": "click_person",
        "create_frame_choice": "frame_choice",
        "create_granularity": "granularity",
        "create_mask_propagator": "mask_propagation",
        "create_type_choice": "type_choice",
        "frame_descriptor": "cold_start",
        "frame_motion": "cold_start",
        "frame_samples": "selection",
        "labelled_frames": "ranking",
        "list_objects": "object_video",
        "median_click": "click_person",
        "parse_amount": "budget",
        "paste": "manual_labels",
        "pixel_uncertainty": "uncertainty",
        "rank_annotations": "ranking_objects",
        "rank_cold_annotations": "ranking_objects",
        "rank_samples": "ranking",
        "read_lists": "collect_split",
        "search_budget": "find_budget",
        "split_videos": "collect_split",
        "write_annotation_tasks": "ranking_files",
        "write_lists": "collect_split",
        "write_ranking": "ranking_files",
    },
)
