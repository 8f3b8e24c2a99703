"""Folder layouts that synthetic clips are written in."""
