"""Tools around data on disk: checks, leakage between splits, import of video files."""
