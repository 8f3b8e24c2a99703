"""A person in the loop: what to label next, who labels it, and what it costs.

Names are resolved when they are used, because OpenCV and the networks take time to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.annotation.ranking.samples import Sample
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.annotation.eva_vos.collect import CollectedTotal, collect_annotations
    from thriftseg.annotation.eva_vos.collect_settings import CollectSettings
    from thriftseg.annotation.eva_vos.frame_choice import FRAME_CHOICES, FrameChoice, create_frame_choice
    from thriftseg.annotation.eva_vos.loop import EVAVOSResult, annotate_eva_vos
    from thriftseg.annotation.eva_vos.objects import ObjectVideo, list_objects
    from thriftseg.annotation.eva_vos.progress import ObjectProgress
    from thriftseg.annotation.eva_vos.propagation import MASK_PROPAGATORS, MaskPropagator, create_mask_propagator
    from thriftseg.annotation.eva_vos.settings import EVAVOSSettings
    from thriftseg.annotation.eva_vos.split import read_lists, split_videos, write_lists
    from thriftseg.annotation.eva_vos.type_choice import TYPE_CHOICES, TypeChoice, create_type_choice
    from thriftseg.annotation.hvsa.budget import Budget, parse_amount
    from thriftseg.annotation.hvsa.find_budget import BudgetProbe, FoundBudget, search_budget
    from thriftseg.annotation.hvsa.loop import HVSAResult, annotate_hvsa
    from thriftseg.annotation.hvsa.manual_labels import ManualLabels, paste
    from thriftseg.annotation.hvsa.settings import HVSASettings
    from thriftseg.annotation.people.answer_files import EXCHANGES
    from thriftseg.annotation.people.label_files import FilesAnnotator
    from thriftseg.annotation.people.mask_clicker import ClickPerson, corrective_click, median_click
    from thriftseg.annotation.people.mask_files import MaskFilesPerson
    from thriftseg.annotation.people.masks import Click, MaskAnnotation, MaskAnnotator
    from thriftseg.annotation.people.polygon_clicker import PolygonAnnotator
    from thriftseg.annotation.people.requests import Annotator, Answer, Request
    from thriftseg.annotation.ranking.cold_start import cold_start_sample, frame_descriptor, frame_motion
    from thriftseg.annotation.ranking.files import write_annotation_tasks, write_ranking
    from thriftseg.annotation.ranking.frames import NetworkView, RankedSample, labelled_frames, rank_samples
    from thriftseg.annotation.ranking.granularity import Granularity, create_granularity
    from thriftseg.annotation.ranking.objects import RankedAnnotation, rank_annotations, rank_cold_annotations
    from thriftseg.annotation.ranking.selection import SampleSelection, SampleTable, frame_samples
    from thriftseg.annotation.ranking.superpixels import SuperpixelMethod
    from thriftseg.annotation.ranking.uncertainty import Neighbour, pixel_uncertainty

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
        "Annotator": "people.requests",
        "Answer": "people.requests",
        "Budget": "hvsa.budget",
        "BudgetProbe": "hvsa.find_budget",
        "Click": "people.masks",
        "ClickPerson": "people.mask_clicker",
        "CollectSettings": "eva_vos.collect_settings",
        "CollectedTotal": "eva_vos.collect",
        "EVAVOSResult": "eva_vos.loop",
        "EVAVOSSettings": "eva_vos.settings",
        "EXCHANGES": "people.answer_files",
        "FRAME_CHOICES": "eva_vos.frame_choice",
        "FilesAnnotator": "people.label_files",
        "FoundBudget": "hvsa.find_budget",
        "FrameChoice": "eva_vos.frame_choice",
        "Granularity": "ranking.granularity",
        "HVSAResult": "hvsa.loop",
        "HVSASettings": "hvsa.settings",
        "MASK_PROPAGATORS": "eva_vos.propagation",
        "ManualLabels": "hvsa.manual_labels",
        "MaskAnnotation": "people.masks",
        "MaskAnnotator": "people.masks",
        "MaskFilesPerson": "people.mask_files",
        "MaskPropagator": "eva_vos.propagation",
        "Neighbour": "ranking.uncertainty",
        "NetworkView": "ranking.frames",
        "ObjectProgress": "eva_vos.progress",
        "ObjectVideo": "eva_vos.objects",
        "PolygonAnnotator": "people.polygon_clicker",
        "RankedAnnotation": "ranking.objects",
        "RankedSample": "ranking.frames",
        "Request": "people.requests",
        "SampleSelection": "ranking.selection",
        "SampleTable": "ranking.selection",
        "SuperpixelMethod": "ranking.superpixels",
        "TYPE_CHOICES": "eva_vos.type_choice",
        "TypeChoice": "eva_vos.type_choice",
        "annotate_eva_vos": "eva_vos.loop",
        "annotate_hvsa": "hvsa.loop",
        "cold_start_sample": "ranking.cold_start",
        "collect_annotations": "eva_vos.collect",
        "corrective_click": "people.mask_clicker",
        "create_frame_choice": "eva_vos.frame_choice",
        "create_granularity": "ranking.granularity",
        "create_mask_propagator": "eva_vos.propagation",
        "create_type_choice": "eva_vos.type_choice",
        "frame_descriptor": "ranking.cold_start",
        "frame_motion": "ranking.cold_start",
        "frame_samples": "ranking.selection",
        "labelled_frames": "ranking.frames",
        "list_objects": "eva_vos.objects",
        "median_click": "people.mask_clicker",
        "parse_amount": "hvsa.budget",
        "paste": "hvsa.manual_labels",
        "pixel_uncertainty": "ranking.uncertainty",
        "rank_annotations": "ranking.objects",
        "rank_cold_annotations": "ranking.objects",
        "rank_samples": "ranking.frames",
        "read_lists": "eva_vos.split",
        "search_budget": "hvsa.find_budget",
        "split_videos": "eva_vos.split",
        "write_annotation_tasks": "ranking.files",
        "write_lists": "eva_vos.split",
        "write_ranking": "ranking.files",
    },
)
