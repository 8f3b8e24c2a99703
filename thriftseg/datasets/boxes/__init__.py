"""Boxes around objects, the windows cut around them, and training samples made of these."""
