"""Procedural video with exact labels and flow, in memory or written in the layout of a data set.

Streets with labels of classes: `textures` and `sprites` paint, `population` and `street` invent, `scene` holds what was
invented, `render` draws it, `video` relates the frames of a clip; `tracing`, `layouts` and `writer` put clips on disk.

Moving objects with masks: `shapes` paints, `object_scene` invents, `object_video` draws; `baselines` tells how hard a
clip is; `vos_layouts` and `vos_writer` put clips on disk. Both share `motion`, `exposure` and `production`.
"""

from __future__ import annotations

from thriftseg.datasets.synthetic.layouts import LAYOUTS
from thriftseg.datasets.synthetic.object_video import ObjectDrawing, ObjectVideo
from thriftseg.datasets.synthetic.scene import SceneConfig
from thriftseg.datasets.synthetic.video import ObjectBox, RenderedFrame, StreetVideo, boxes_of, render_clip
from thriftseg.datasets.synthetic.vos_layouts import VOS_LAYOUTS
from thriftseg.datasets.synthetic.vos_writer import ObjectSynthesisSummary, synthesize_objects
from thriftseg.datasets.synthetic.writer import SynthesisSummary, synthesize

__all__ = [
    "LAYOUTS",
    "VOS_LAYOUTS",
    "ObjectBox",
    "ObjectDrawing",
    "ObjectSynthesisSummary",
    "ObjectVideo",
    "RenderedFrame",
    "SceneConfig",
    "StreetVideo",
    "SynthesisSummary",
    "boxes_of",
    "render_clip",
    "synthesize",
    "synthesize_objects",
]
