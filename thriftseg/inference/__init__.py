"""From weights and frames to label maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.inference.checkpoints import (
        METADATA_KEY,
        RANDOM_STATES_KEY,
        LoadedNetwork,
        Unrecordable,
        check_names,
        cost_of_labels,
        load_as,
        load_for,
        load_network,
        load_vos_network,
        load_weights,
        read_checkpoint,
        to_record,
    )
    from thriftseg.inference.devices import choose_device
    from thriftseg.inference.frame_source import FrameSource, NamedFrame
    from thriftseg.inference.prediction import PredictionSummary, predict
    from thriftseg.inference.segmenter import FrameSegmenter, Segmentation, VideoState, resize_maps

__getattr__, __dir__, __all__ = face(__name__)
