"""The ONNX graphs of a critic, in the layout of transformers.js."""
