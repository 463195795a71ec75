"""What TensorFlow Serving needs beside a SavedModel: configuration, warm-up, containers, a page."""

from __future__ import annotations

from rnnapp.exporting.bundle.files import MODELS, models_config, serving_name, write

__all__ = ["MODELS", "models_config", "serving_name", "write"]
