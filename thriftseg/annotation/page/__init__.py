"""A page in the browser on which people annotate."""
