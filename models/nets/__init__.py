"""Nets in PyTorch, to be trained; what leaves them is ONNX."""
