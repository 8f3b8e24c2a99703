"""A person in the loop: what to label next, who labels it, and what it costs.

Names are resolved when they are used, because OpenCV and the networks take time to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.annotation.eva_vos.collect import CollectedTotal, collect_annotations
    from thriftseg.annotation.eva_vos.frame_choice import FRAME_CHOICES, FrameChoice, QNetFrames, create_frame_choice
    from thriftseg.annotation.eva_vos.loop import EVAVOSResult, annotate_eva_vos
    from thriftseg.annotation.eva_vos.methods import AnnotationChoices, Clicking, MaskMethods, encoders_of
    from thriftseg.annotation.eva_vos.objects import ObjectVideo, list_objects
    from thriftseg.annotation.eva_vos.progress import ObjectProgress
    from thriftseg.annotation.eva_vos.propagation import MaskPropagator, create_mask_propagator
    from thriftseg.annotation.eva_vos.settings import CollectSettings, EVAVOSSettings
    from thriftseg.annotation.eva_vos.split import VideoSplit, read_lists, split_dataset, split_videos, write_lists
    from thriftseg.annotation.eva_vos.type_choice import TYPE_CHOICES, TypeChoice, create_type_choice
    from thriftseg.annotation.hvsa.all_videos import AllVideosResult, annotate_videos
    from thriftseg.annotation.hvsa.budget import Budget, parse_amount
    from thriftseg.annotation.hvsa.choices import PersonChoice, VideoChoice
    from thriftseg.annotation.hvsa.find_budget import BudgetProbe, FoundBudget, search_budget
    from thriftseg.annotation.hvsa.folder import FinishedRound
    from thriftseg.annotation.hvsa.loop import HVSAResult, annotate_hvsa
    from thriftseg.annotation.hvsa.manual_labels import ManualLabels, paste
    from thriftseg.annotation.hvsa.settings import HVSARounds, HVSASettings
    from thriftseg.annotation.hvsa.video import SimulatedPerson, StartNetwork, TuningSettings, VideoLoop, find_budget
    from thriftseg.annotation.page.propagation import BackgroundPropagation
    from thriftseg.annotation.page.service import PageOptions
    from thriftseg.annotation.page.serving import PageAddress, PageMethods, serve_annotation, serve_work
    from thriftseg.annotation.page.tasks.loop import Wait, answered_on_page, serve_tasks
    from thriftseg.annotation.page.tasks.work import TaskWork
    from thriftseg.annotation.page.work import Work
    from thriftseg.annotation.people.answer_files import EXCHANGES
    from thriftseg.annotation.people.label_files import FilesAnnotator
    from thriftseg.annotation.people.mask_clicker import ClickPerson, corrective_click, median_click
    from thriftseg.annotation.people.mask_files import MaskFilesPerson
    from thriftseg.annotation.people.masks import MaskAnnotation, MaskAnnotator, MaskClick
    from thriftseg.annotation.people.polygon_clicker import PolygonAnnotator
    from thriftseg.annotation.people.requests import Annotator, Answer, Request
    from thriftseg.annotation.ranking.cold_start import cold_start_sample, frame_descriptor, frame_motion
    from thriftseg.annotation.ranking.files import write_annotation_tasks, write_ranking
    from thriftseg.annotation.ranking.frames import NetworkView, RankedSample, labelled_frames, rank_samples, view_of
    from thriftseg.annotation.ranking.granularity import Granularity, create_granularity
    from thriftseg.annotation.ranking.next_objects import ObjectRanking, next_annotations
    from thriftseg.annotation.ranking.objects import RankedAnnotation, rank_annotations, rank_cold_annotations
    from thriftseg.annotation.ranking.selection import Sample, SampleSelection, SampleTable, frame_samples
    from thriftseg.annotation.ranking.superpixels import SuperpixelMethod
    from thriftseg.annotation.ranking.uncertainty import Neighbour, pixel_uncertainty

__getattr__, __dir__, __all__ = face(__name__)
