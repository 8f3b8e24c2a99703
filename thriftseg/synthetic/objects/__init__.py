"""Synthetic clips of moving objects with masks."""
