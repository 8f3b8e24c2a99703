"""Reports of runs that buy labels: curves, figures, pages."""
