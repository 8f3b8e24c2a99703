"""Readers of video object segmentation: masks of numbered objects."""
