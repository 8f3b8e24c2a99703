"""Publishing a checkpoint: its weights, its card, its licence lineage."""
