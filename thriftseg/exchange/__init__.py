"""Reading and writing the files of annotation tools.

A format turns a file or folder into images with shapes, and frames with objects into the files its tool takes.
Coordinates follow the tool: all but Cityscapes measure from the corner of the image, so that a pixel is 1 x 1 in size
and belongs to a polygon when its centre does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.exchange.box_tracks import BoxTracks, read_box_tracks
    from thriftseg.exchange.class_names import train_ids_of
    from thriftseg.exchange.coco import COCO_FILE
    from thriftseg.exchange.cvat import CVAT_FILE, CVAT_LABEL_FILE, write_label_constructor
    from thriftseg.exchange.cvat_server import CVATTask
    from thriftseg.exchange.exporting import ExportSummary, export_labels, export_objects, exported_frame
    from thriftseg.exchange.formats import FORMATS
    from thriftseg.exchange.frame_names import FrameNames
    from thriftseg.exchange.importing import ImportSummary, import_labels
    from thriftseg.exchange.label_studio import decode_brush, encode_brush
    from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, ExportedObject, Shape, image_name
    from thriftseg.exchange.submission import Submission, write_submission

__getattr__, __dir__, __all__ = face(__name__)
