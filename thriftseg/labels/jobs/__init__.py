"""The generator skeleton: tasks, jobs, summaries, prices."""
