"""Scoring on Apache Beam: what `rnnapp predict` answers, on whatever runs pipelines.

    answers = pipeline | beam.Create(["a.wav"]) | beam.Map(lambda path: (path, path)) | (
        beam.ParDo(Answer("exported/words")).with_outputs(BAD, main="answers")
    )

Workers need `rnnapp` and `ai-edge-litert`; exports are answered without TensorFlow. From a shell,
`python -m rnnapp.beam` makes a pipeline of it.
"""

from __future__ import annotations

from rnnapp.beam.answer import BAD, Answer

__all__ = ["BAD", "Answer"]
