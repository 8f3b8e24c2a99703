"""`python -m thriftseg ...` is `thriftseg ...`."""

from thriftseg.cli import entry_point

entry_point()
