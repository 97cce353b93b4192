"""ONNX graphs: writing them, checking them, putting them into a model folder."""
