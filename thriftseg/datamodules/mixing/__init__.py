"""Training lists that mix label sources, and what they cost."""
