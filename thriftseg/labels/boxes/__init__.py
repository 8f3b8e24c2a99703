"""Masks of objects made from boxes."""
