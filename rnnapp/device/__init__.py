"""The on-device runner: hears words in a stream with numpy and a TFLite interpreter, no TensorFlow.

It needs numpy and `ai-edge-litert` or `tflite-runtime`, on Python 3.9 or newer, and of the rest of
rnnapp nothing but its `__init__.py`. Files are run from
the shell by `python -m rnnapp.device FILE.tflite --wav FILE`, and from Python by `Listener` for
streams, `Classifier` for clips and `SequenceClassifier` for tokens and measurements.
"""

from __future__ import annotations

from rnnapp.device.classifier import Classifier
from rnnapp.device.detector import Detector, Event, fire, smooth, thresholds_for
from rnnapp.device.interpreter import Model, TensorInfo, load
from rnnapp.device.listener import Listener
from rnnapp.device.sequences import SequenceClassifier
from rnnapp.device.stepper import Stepper

__all__ = [
    "Classifier",
    "Detector",
    "Event",
    "Listener",
    "Model",
    "SequenceClassifier",
    "Stepper",
    "TensorInfo",
    "fire",
    "load",
    "smooth",
    "thresholds_for",
]
