"""Looking after stored labels: what they cover, which are doubtful, what a person decides."""
