"""Procedural video with exact labels and flow, in memory or written in the layout of a data set.

There are two kinds. `street` is a drive along a street with labels of classes: `plan` and `population` invent it,
`scenery` and `sprites` paint, `render` draws. `objects` are things that move, with masks: `scene` invents them,
`shapes` paints, `baselines` tells how hard a clip is. Each has a `video` that relates the frames of a clip, and a
`writer` that puts clips on disk in one of the `layouts`.

Both share the configuration (`scene`), the tools to paint (`textures`), light and sensor (`exposure`), the motion of
flat parts (`motion`), and making clips in processes, resumably (`production`).
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
