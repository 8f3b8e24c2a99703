"""TDNet: shallow sub-networks that take turns over the frames of a video."""
