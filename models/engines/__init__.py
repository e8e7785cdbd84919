"""Ways to execute the four functions of the backbone: torch (the oracle) and ONNX files."""
