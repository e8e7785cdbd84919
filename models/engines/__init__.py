"""Ways to execute the functions of the backbone: torch (the oracle) and ONNX files."""
