"""Synthetic drives through a street with labels of classes."""
