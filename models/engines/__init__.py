"""Ways to execute the functions of the backbone: torch (the oracle) and ONNX files."""

import sys

# It comes with OpenVINO, and with it `import openvino` sends an event to Google Analytics. To
# OpenVINO as we import it, it is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
