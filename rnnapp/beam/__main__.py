"""Scores an archive by a pipeline: `python -m rnnapp.beam EXPORT --input-list FILE --out PREFIX`.

Every other option is Beam's: `--runner DataflowRunner --region ...`, `--runner FlinkRunner ...`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from rnnapp.beam.answer import BAD, NAMESPACE, Answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the pipeline.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit code: 1 if some inputs could not be used.
    """
    own, beams = _parser().parse_known_args(arguments)
    pipeline = beam.Pipeline(options=PipelineOptions(beams))
    build(pipeline, own.source, own.input_list, own.out, own.set or ())
    result = pipeline.run()
    result.wait_until_finish()
    counts = counted(result)
    told = f"{counts['answered']} answered, {counts['bad_inputs']} could not be used"
    print(f"{own.out}*.jsonl: {told}", file=sys.stderr)
    return 1 if counts["bad_inputs"] else 0


def build(
    pipeline: beam.Pipeline, source: str, input_list: str, out: str, settings: Sequence[str] = ()
) -> None:
    """Adds reading a list, answering it and writing answers to a pipeline.

    Args:
        pipeline: The pipeline.
        source: As of `Answer`.
        input_list: Text files of inputs, one a line; a pattern, or a URL.
        out: What files of answers begin with, a JSON object a line; those of inputs that cannot be
            used have `-bad` behind it.
        settings: As of `Answer`.
    """
    answers, bad = (
        pipeline
        | "Read" >> beam.io.ReadFromText(input_list)
        | "Drop empty lines" >> beam.Filter(str.strip)
        | "Pair" >> beam.Map(lambda line: (line, line))
        # A list is one piece, which one worker would keep to itself.
        | "Spread" >> beam.Reshuffle()
        | "Answer" >> beam.ParDo(Answer(source, settings)).with_outputs(BAD, main="answers")
    )
    _write(answers | "Values" >> beam.Values(), "answers", out)
    named = bad | "Name" >> beam.MapTuple(lambda key, error: {"input": key, "error": error})
    _write(named, "bad inputs", f"{out}-bad")


def _write(records: Any, what: str, prefix: str) -> None:
    lines = records | f"JSON of {what}" >> beam.Map(json.dumps, ensure_ascii=False)
    lines | f"Write {what}" >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl")


def counted(result: Any) -> dict[str, int]:
    """What became of the inputs of a pipeline that has ended, by metric."""
    counters = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    counts = {"answered": 0, "bad_inputs": 0}
    for each in counters:
        counts[each.key.metric.name] += each.result
    return counts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m rnnapp.beam", description=__doc__)
    parser.add_argument("source", metavar="EXPORT", help="an export folder, or its URL")
    parser.add_argument(
        "--input-list",
        required=True,
        metavar="FILE",
        help="files to answer, or texts, one a line; a pattern, or a URL",
    )
    parser.add_argument(
        "--out", required=True, metavar="PREFIX", help="what files of answers begin with"
    )
    parser.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="as of `rnnapp predict`"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
