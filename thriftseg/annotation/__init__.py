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
    from thriftseg.annotation.cold_start import cold_start_sample, frame_descriptor, frame_motion
    from thriftseg.annotation.files_annotator import FilesAnnotator
    from thriftseg.annotation.find_budget import BudgetProbe, FoundBudget, find_budget
    from thriftseg.annotation.granularity import Granularity, create_granularity
    from thriftseg.annotation.hvsa import HVSAResult, annotate_hvsa
    from thriftseg.annotation.hvsa_settings import HVSASettings
    from thriftseg.annotation.manual_labels import ManualLabels, paste
    from thriftseg.annotation.polygon_annotator import PolygonAnnotator
    from thriftseg.annotation.ranking import NetworkView, RankedSample, labelled_frames, rank_samples
    from thriftseg.annotation.ranking_files import write_ranking
    from thriftseg.annotation.requests import Annotator, Answer, Request
    from thriftseg.annotation.selection import SampleSelection, SampleTable, frame_samples
    from thriftseg.annotation.superpixels import SuperpixelMethod
    from thriftseg.annotation.uncertainty import Neighbour, pixel_uncertainty

__all__ = [
    "EXCHANGES",
    "Annotator",
    "Answer",
    "Budget",
    "BudgetProbe",
    "FilesAnnotator",
    "FoundBudget",
    "Granularity",
    "HVSAResult",
    "HVSASettings",
    "ManualLabels",
    "Neighbour",
    "NetworkView",
    "PolygonAnnotator",
    "RankedSample",
    "Request",
    "Sample",
    "SampleSelection",
    "SampleTable",
    "SuperpixelMethod",
    "annotate_hvsa",
    "cold_start_sample",
    "create_granularity",
    "find_budget",
    "frame_descriptor",
    "frame_motion",
    "frame_samples",
    "labelled_frames",
    "parse_amount",
    "paste",
    "pixel_uncertainty",
    "rank_samples",
    "write_ranking",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Annotator": "requests",
        "Answer": "requests",
        "Budget": "budget",
        "BudgetProbe": "find_budget",
        "EXCHANGES": "answer_files",
        "FilesAnnotator": "files_annotator",
        "FoundBudget": "find_budget",
        "Granularity": "granularity",
        "HVSAResult": "hvsa",
        "HVSASettings": "hvsa_settings",
        "ManualLabels": "manual_labels",
        "Neighbour": "uncertainty",
        "NetworkView": "ranking",
        "PolygonAnnotator": "polygon_annotator",
        "RankedSample": "ranking",
        "Request": "requests",
        "SampleSelection": "selection",
        "SampleTable": "selection",
        "SuperpixelMethod": "superpixels",
        "annotate_hvsa": "hvsa",
        "cold_start_sample": "cold_start",
        "create_granularity": "granularity",
        "find_budget": "find_budget",
        "frame_descriptor": "cold_start",
        "frame_motion": "cold_start",
        "frame_samples": "selection",
        "labelled_frames": "ranking",
        "parse_amount": "budget",
        "paste": "manual_labels",
        "pixel_uncertainty": "uncertainty",
        "rank_samples": "ranking",
        "write_ranking": "ranking_files",
    },
)
