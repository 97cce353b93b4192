"""Fit transform networks to paintings and export them for the server (PyTorch)."""
