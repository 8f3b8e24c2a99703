"""`python -m thriftseg ...` is `thriftseg ...`."""

from thriftseg.cli.main import entry_point

entry_point()
