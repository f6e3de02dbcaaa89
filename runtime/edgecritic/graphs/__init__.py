"""ONNX graphs of critics, written piece by piece and without the onnx package."""
