"""The generator skeleton: tasks, workers, storing, failures, summaries."""
