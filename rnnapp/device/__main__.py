"""Listen from the shell: `python -m rnnapp.device FILE.tflite --wav FILE`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from rnnapp.device.detector import Event
from rnnapp.device.listener import Listener

EPILOG = """\
examples:
  python -m rnnapp.device dynamic.tflite --wav kitchen.wav         a recording, any rate or channels
  python -m rnnapp.device dynamic.tflite --mic                     the microphone, until Ctrl-C
  python -m rnnapp.device dynamic.tflite --mic --threshold 0.9     fewer false alarms, more misses
  python -m rnnapp.device dynamic.tflite --wav kitchen.wav --json  one JSON object a line

An event is printed as `  3.42 s  yes  0.97`: seconds from the start, label, probability.
It needs numpy and a runtime: `pip install ai-edge-litert`, or on Python 3.11 and older
`pip install tflite-runtime "numpy<2"`; for --mic also `pip install sounddevice`.
Exit codes: 0 done, 2 wrong use or bad input."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; those of the process by default.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(argv)
    try:
        _listen(options)
    except KeyboardInterrupt:
        return 0  # how one stops listening to a microphone
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _listen(options: argparse.Namespace) -> None:
    listener = Listener(options.model, threshold=options.threshold)
    show = _print_json if options.json else _print_text
    if options.mic:
        print("Listening. Ctrl-C stops.", file=sys.stderr)
        listener.listen_microphone(show, options.seconds)
        return
    for event in listener.listen_file(options.wav, _progress if sys.stderr.isatty() else None):
        show(event)


def _print_text(event: Event) -> None:
    print(event, flush=True)


def _print_json(event: Event) -> None:
    print(json.dumps(dataclasses.asdict(event), ensure_ascii=False), flush=True)


def _progress(done: float, total: float) -> None:
    end = "\n" if done >= total else ""
    print(f"\r{done:.0f} of {total:.0f} s", end=end, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rnnapp.device",
        description="Listen to a recording or a microphone with a streaming TFLite model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="FILE.tflite", help="a model with the signature `step`")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--wav", metavar="FILE", help="WAV, or FLAC with soundfile installed")
    source.add_argument("--mic", action="store_true", help="the default microphone")
    parser.add_argument("--threshold", type=float, help="of all labels; the model's by default")
    parser.add_argument("--seconds", type=float, help="stop the microphone after so long")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
