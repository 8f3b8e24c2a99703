"""Procedural street video with exact labels and flow, in memory or written in the layout of a data set.

`textures` and `sprites` paint, `population` and `street` invent, `scene` holds what was invented, `render` draws it,
`video` relates the frames of a clip; `tracing`, `layouts` and `writer` put clips on disk.
"""

from __future__ import annotations

from thriftseg.datasets.synthetic.layouts import LAYOUTS
from thriftseg.datasets.synthetic.scene import SceneConfig
from thriftseg.datasets.synthetic.video import ObjectBox, RenderedFrame, StreetVideo, boxes_of, render_clip
from thriftseg.datasets.synthetic.writer import SynthesisSummary, synthesize

__all__ = [
    "LAYOUTS",
    "ObjectBox",
    "RenderedFrame",
    "SceneConfig",
    "StreetVideo",
    "SynthesisSummary",
    "boxes_of",
    "render_clip",
    "synthesize",
]
