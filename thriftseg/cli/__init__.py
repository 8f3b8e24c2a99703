"""The `thriftseg` command; every command is a thin wrapper of a function callable from Python."""
