"""All that the package writes and reads back: labels, their rows and prices, reviews, training sets of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.stores.annotation_journal import (
        AnnotationJournal,
        FrameVerdict,
        JournalAction,
        JournalRow,
        Patch,
        Tool,
        TrainId,
        measured_cost,
    )
    from thriftseg.stores.annotation_rounds import MASK_SIZE, RoundFolder, RoundKey
    from thriftseg.stores.click_file import (
        Click,
        click_key,
        digest_of,
        draw_point_map,
        point_map_path,
        read_click_file,
        read_point_map,
    )
    from thriftseg.stores.label_source import (
        COARSE,
        GIVEN_SOURCES,
        MANUAL,
        LabelSource,
        MaskSource,
        SourceLabel,
        check_free,
        given_files,
        given_kind,
        given_label,
        is_given,
        read_given,
        source_order,
    )
    from thriftseg.stores.label_store import LabelStore, find_rot, store_root
    from thriftseg.stores.manifest import Manifest, Row, canonical
    from thriftseg.stores.measurements import MeasurementCache, file_stamp
    from thriftseg.stores.object_log import LoggedObject
    from thriftseg.stores.object_map import (
        MIN_COMPONENT,
        NO_OBJECT,
        ObjectMap,
        ObjectUnit,
        TrackedObject,
        check_unit,
        objects_of,
    )
    from thriftseg.stores.pricing import price_actions
    from thriftseg.stores.quality_set import QualitySample, QualitySet, RatedMask
    from thriftseg.stores.review_log import VERDICTS, Decision, Remade, ReviewedObject, Reviews, Verdict
    from thriftseg.stores.rows import POINTS, ActionRow, LabelRow, action_id, annotated_frame
    from thriftseg.stores.type_set import Annotated, Outcome, TypeSet, TypeState

__getattr__, __dir__, __all__ = face(__name__)
