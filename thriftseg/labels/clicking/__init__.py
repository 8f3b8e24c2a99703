"""Clicks as labels."""
