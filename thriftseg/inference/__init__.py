"""From weights and frames to label maps."""
