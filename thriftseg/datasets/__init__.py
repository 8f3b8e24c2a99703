"""Readers of video data sets in the folder layouts they are published in.

Each reader yields `Clip`s; see `VideoDataset` for what those of labels of classes share, and `VOSDataset` for those of
masks of numbered objects. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.datasets import camvid, cityscapes, scenenet
    from thriftseg.datasets.base import ClipReader, EmptySplitError, VideoDataset, resolve_root
    from thriftseg.datasets.boxes.samples import BoxAugmentation, BoxSample
    from thriftseg.datasets.boxes.windows import (
        CROP,
        MARGIN,
        Box,
        BoxWindow,
        PixelBox,
        box_of,
        jitter_box,
        pixel_box,
    )
    from thriftseg.datasets.camvid import CamVid
    from thriftseg.datasets.cityscapes import Cityscapes
    from thriftseg.datasets.files import frame_number, glob_files, list_files, list_folders, natural_key, usual_step
    from thriftseg.datasets.folder import CLASS_FILE, Folder, FrameFolder
    from thriftseg.datasets.idd import IDD, drive_key
    from thriftseg.datasets.images import (
        FRAME_SUFFIXES,
        encode_frame,
        encode_label_png,
        frame_bytes,
        probe_size,
        read_frame,
        read_label_png,
        resize_frame,
        resize_label,
        write_label_png,
    )
    from thriftseg.datasets.offsets import describe_reach, parse_offsets, target_number
    from thriftseg.datasets.polygons import (
        Polygon,
        PolygonFile,
        Regions,
        draw_labels,
        draw_regions,
        encode_polygons,
        read_polygons,
    )
    from thriftseg.datasets.registry import DATASETS, VOS_DATASETS, create, create_vos
    from thriftseg.datasets.scenenet import SCENENET_FRAME_STEP, SceneNet
    from thriftseg.datasets.sharding import shard
    from thriftseg.datasets.tools.check import CheckReport, Finding, check_dataset, print_report
    from thriftseg.datasets.tools.video_import import VideoImportSummary, import_videos
    from thriftseg.datasets.tools.vos_check import VOSCheckReport, check_vos, print_vos_report
    from thriftseg.datasets.veis import VEIS
    from thriftseg.datasets.video import VIDEO_SUFFIXES, frame_file, is_clip_video, list_video
    from thriftseg.datasets.vos.base import (
        PALETTE,
        MasksOfSplit,
        VideoObject,
        VOSClip,
        VOSDataset,
        check_share,
        ids_in,
        is_held_out,
        read_list,
    )
    from thriftseg.datasets.vos.coco import COCO, COCOFile
    from thriftseg.datasets.vos.davis import DAVIS
    from thriftseg.datasets.vos.mose import MOSE
    from thriftseg.datasets.vos.tao_vos import TAOVOS
    from thriftseg.datasets.vos.youtube_vos import YouTubeVOS

__getattr__, __dir__, __all__ = face(__name__)
