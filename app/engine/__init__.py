"""Networks on devices: sessions, the queue, the gallery. Only this package imports ONNX Runtime."""
