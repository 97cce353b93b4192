"""Devices, and the runtimes that run graphs on them."""
