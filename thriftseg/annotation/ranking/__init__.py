"""Candidates for the next label, in order: samples of frames and objects, how unsure and how different they are."""
