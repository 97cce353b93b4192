"""Inference: devices, sessions, networks, the queue. `devices` alone imports the runtimes."""
