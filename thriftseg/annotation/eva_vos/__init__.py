"""EVA-VOS: which frame of which object to annotate next, and whether to draw or to click."""
