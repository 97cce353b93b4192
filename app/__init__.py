"""Pastiche serves transform networks over HTTP, as a library and as a command."""
