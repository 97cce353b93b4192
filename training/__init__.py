"""Train transform networks on paintings and export them for the server (PyTorch)."""
