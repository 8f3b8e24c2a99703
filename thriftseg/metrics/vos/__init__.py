"""Scores of video object segmentation: J, F, recall of masks, and the protocols of the benchmarks."""
