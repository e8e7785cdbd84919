"""Ways to execute the functions of the backbone: torch (the oracle) and ONNX files."""

import sys

# `import openvino` tells Google Analytics of itself where this package is installed, and it comes with
# OpenVINO. To OpenVINO as we import it, it is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
