"""Coarse labels, their refinement, and gaps that are filled."""
