"""ONNX Runtime without its telemetry: the one place that imports it.

From 1.29 on its Linux builds send usage events to their maker, keep a device id and a database of events in the home
folder, and do so from the moment the library is loaded (its pull requests 27379 and 29843). A house that keeps faces
sends nothing anywhere, so this is set before the library reads it, and nobody may import the library past it.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded

import onnxruntime as ort

__all__ = ["ort"]
