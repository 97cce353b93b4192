"""Inference: devices, sessions, networks, the queue. `device` alone imports ONNX Runtime."""
