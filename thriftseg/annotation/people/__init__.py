"""Those who answer: simulated people, and people who work in a folder of files."""
