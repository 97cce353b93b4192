"""ONNX graphs: building them, checking them against PyTorch, writing model folders."""
