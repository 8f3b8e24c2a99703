"""Batches of video object segmentation: clips to train on, videos to evaluate on."""
