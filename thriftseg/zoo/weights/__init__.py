"""Weights on disk and on the hub: files, cards, catalogue, checkpoints of other projects, export."""
