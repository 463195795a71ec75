"""Runs MediaPipe's AudioClassifier in an environment of its own.

    python -I mediapipe_worker.py MODEL.tflite SAMPLES SAMPLE_RATE

Reads windows from standard input, one after another until it ends, SAMPLES float32 each. For each
it writes the probabilities to standard output, float32, in the order of the labels. It needs
nothing but numpy and mediapipe, which may be of other versions than those of rnnapp. -I keeps this
file's folder, where rnnapp has a mediapipe.py of its own, off Python's path.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

import numpy as np
from mediapipe.tasks.python.audio import AudioClassifier
from mediapipe.tasks.python.components.containers import AudioData


def classify(classifier: AudioClassifier, window: np.ndarray, sample_rate: int) -> np.ndarray:
    """The probabilities of a window's classes.

    Args:
        classifier: A loaded model.
        window: float32 (samples,), as many as the model takes.
        sample_rate: Of the window, in hertz.

    Returns:
        float32 (classes,).
    """
    (result,) = classifier.classify(AudioData.create_from_array(window, sample_rate))
    (head,) = result.classifications
    scores = {category.index: category.score for category in head.categories}
    return np.array([scores[index] for index in range(len(scores))], np.float32)


def serve(model: str, samples: int, sample_rate: int, windows: BinaryIO, answers: BinaryIO) -> None:
    """Answers windows until there are no more.

    Args:
        model: Path of a TFLite file.
        samples: Length of a window.
        sample_rate: Of the windows, in hertz.
        windows: Where they come from.
        answers: Where the probabilities go.
    """
    with AudioClassifier.create_from_model_path(model) as classifier:
        while content := windows.read(4 * samples):
            window = np.frombuffer(content, np.float32)
            answers.write(classify(classifier, window, sample_rate).tobytes())
            answers.flush()


if __name__ == "__main__":
    # What native code prints must not stand among the answers.
    stdout = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(stdout, "wb") as answers:
        serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer, answers)
