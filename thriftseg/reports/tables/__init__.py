"""Tables for the terminal, and published tables beside one's own scores."""
