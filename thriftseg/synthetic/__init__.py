"""Procedural video with exact labels and flow, in memory or written in the layout of a data set.

Streets with labels of classes: `textures` and `sprites` paint, `population` and `street` invent, `scene` holds what was
invented, `render` draws it, `video` relates the frames of a clip; `tracing`, `layouts` and `writer` put clips on disk.

Moving objects with masks: `shapes` paints, `object_scene` invents, `object_video` draws; `baselines` tells how hard a
clip is; `vos_layouts` and `vos_writer` put clips on disk. Both share `motion`, `exposure` and `production`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.synthetic.layouts.classes import LAYOUTS
    from thriftseg.synthetic.layouts.vos import VOS_LAYOUTS
    from thriftseg.synthetic.objects.video import ObjectDrawing, SyntheticObjectVideo
    from thriftseg.synthetic.objects.writer import ObjectSynthesisSummary, synthesize_objects
    from thriftseg.synthetic.scene import SceneConfig
    from thriftseg.synthetic.street.video import ObjectBox, RenderedFrame, StreetVideo, boxes_of, render_clip
    from thriftseg.synthetic.street.writer import SynthesisSummary, synthesize

__getattr__, __dir__, __all__ = face(__name__)
