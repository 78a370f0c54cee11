"""A daemon that listens to microphones and detects sounds as they happen."""

import os

__version__ = "0.1.0"

# ONNX Runtime keeps usage data, and may send it, unless this is set before it is
# imported; child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
