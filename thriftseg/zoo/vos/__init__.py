"""Video object segmentation: what its networks share, in small parts that can be used alone."""
