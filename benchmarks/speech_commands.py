"""How well models that learned from synthetic voices understand real people.

    python benchmarks/speech_commands.py quickstart --real DATA
    python benchmarks/speech_commands.py synthetic  --real DATA --noise NOISE --rooms ROOMS
    python benchmarks/speech_commands.py mixed      --real DATA --noise NOISE --rooms ROOMS

DATA is a folder of real recordings in the Speech Commands layout. `quickstart` and `synthetic`
never hear it in training; `mixed` splits it by speaker, takes the model of `synthetic` (of `--start
RUN`, or it trains one first) and teaches it the training speakers. Each prints the seconds of
training and the accuracy on the real clips (of the test speakers, in `mixed`).

The published figures heard the voices of

    WORDS=yes,no,up,down,left,right,on,off,stop,go
    rnnapp synthesize --words $WORDS --out many --clips 1810 \\
        --engines espeak=60,piper=14,pico=12,flite=12,festival=2
    rnnapp synthesize --words $WORDS --out kokoro --clips 180 --engines kokoro --seed 11
    rnnapp synthesize --words $WORDS --out more --clips 600 --engines kokoro --seed 12

by `--voices many,kokoro,more`, and the noise and rooms of two folders of recordings.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import rnnapp
from rnnapp.evaluation import answer
from rnnapp.tasks.speech_commands import WORDS

# Chosen on the validation speakers.
FINE_TUNING = ("split_salt=rnnapp", "epochs=30", "learning_rate=1.5e-3")


def quickstart(options: argparse.Namespace) -> None:
    """The model of `rnnapp quickstart`, and how long all of it takes."""
    begun = time.monotonic()
    result = rnnapp.quickstart(options.out)
    print(f"quickstart took {time.monotonic() - begun:.0f} s")
    run = rnnapp.Run.open(result["run"])
    _report(run, rnnapp.evaluate(run, options.real))


def synthetic(options: argparse.Namespace) -> None:
    """A longer run on synthetic voices alone."""
    run = _on_voices(options, options.out / "run")
    _report(run, rnnapp.evaluate(run, options.real))


def mixed(options: argparse.Namespace) -> None:
    """Synthetic voices first, then the real training speakers."""
    start = options.start or _on_voices(options, options.out / "start").folder
    settings = [*_settings(options), *FINE_TUNING, f"start={start}"]
    run = rnnapp.train("speech_commands", options.real, options.out / "run", settings=settings)
    pipeline = run.load_pipeline().open(str(options.real))
    # Not `evaluate`, which would write them down as figures of all that the run was tested on.
    _report(run, run.task.score(answer(run, pipeline)))


def _on_voices(options: argparse.Namespace, folder: Path) -> rnnapp.Run:
    settings = [*_settings(options), "testing_percent=0"]  # the real clips are the test
    return rnnapp.train("speech_commands", _voices(options), folder, settings=settings)


def _voices(options: argparse.Namespace) -> str:
    """The folders that were given, or one of all voices that are installed."""
    if options.voices:
        return str(options.voices)
    rnnapp.synthesize(WORDS, options.out / "voices", clips_per_word=options.clips)
    return str(options.out / "voices")


def _settings(options: argparse.Namespace) -> list[str]:
    preset = rnnapp.TASKS["speech_commands"].presets["crnn"]
    folders = [
        f"{name}={getattr(options, name)}" for name in ("noise", "rooms") if getattr(options, name)
    ]
    return [*preset, *folders, *(options.set or [])]


def _report(run: rnnapp.Run, figures: dict[str, Any]) -> None:
    print(f"training took {run.metrics()['training']['seconds']:.0f} s")
    print(
        f"real clips: {figures['accuracy']:.1%} of {figures['examples']} right, "
        f"macro F1 {figures['macro_f1']:.3f}"
    )
    for label, recall in figures["recall"].items():
        print(f"  {label:10} {recall:.0%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("quickstart", "synthetic", "mixed"))
    parser.add_argument("--real", type=Path, required=True, help="real recordings, word/*.wav")
    parser.add_argument("--noise", type=Path, help="background noises")
    parser.add_argument("--rooms", type=Path, help="room impulse responses")
    parser.add_argument("--start", type=Path, help="of `mixed`: a run that `synthetic` made")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="for data and runs")
    parser.add_argument("--voices", help="folders that `rnnapp synthesize` made, commas between")
    parser.add_argument("--clips", type=int, default=2000, help="else: synthetic clips a word")
    parser.add_argument("--set", action="append", help="KEY=VALUE")
    chosen = parser.parse_args()
    {"quickstart": quickstart, "synthetic": synthetic, "mixed": mixed}[chosen.what](chosen)
