"""Data of the networks of EVA-VOS: the judge of masks and the agent that chooses how to annotate."""
