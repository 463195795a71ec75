"""How well a translator that is trained on two cores translates, with attention and without.

    python benchmarks/translation.py --data DATA
    python benchmarks/translation.py --data DATA --attention none --out benchmark/without

DATA is a file of `source<TAB>target` lines, as those of https://www.manythings.org/anki. A tenth of
all source sentences is held out with all of their translations: none of these sources is in the
training split. The task's preset `large` is trained: text as it is, upper and lower case, in 6,000
subwords of each language. Then every held-out source is translated by greedy search and by a beam
of four. Figures are SacreBLEU's, of text as people would write it, against raw references: of each
source once, against all of its translations in the held-out tenth; and of each held-out pair,
against its own translation alone.

One run each on 167,130 pairs of Tatoeba, English to French; 11,506 held-out sources. With Luong's
attention: 5,574,769 parameters, trained in 53.1 minutes on two cores. Without any: 6,099,057, in
98.5 minutes on one core, with other work beside it.

| attention | search | BLEU, all references | of each pair alone | chrF | time |
|---|---|---|---|---|---|
| luong | greedy | 39.98 | 35.37 | 58.97 | 73 s |
| luong | beam of 4 | 41.87 | 36.98 | 60.03 | 239 s, a test suite beside it |
| none | greedy | 29.13 | 26.21 | 48.12 | 123 s, on one core |
| none | beam of 4 | 31.82 | 28.22 | 47.63 | 220 s, on one core |

So attention is worth 10.0 BLEU by a beam of four, 10.8 by greedy search.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.text.pairs import PairPipeline
    from rnnapp import Run
    from rnnapp.specs import DecodingSpec

Data = Annotated[Path, typer.Option(help="Lines of source<TAB>target.")]
Out = Annotated[Path, typer.Option(help="The run folder.")]
Sentences = Annotated[int, typer.Option(help="Held-out sources to translate; 0 for all.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")]


def main(
    data: Data,
    out: Out = Path("benchmark/translation"),
    attention: str = "luong",
    sentences: Sentences = 0,
    set_: Settings = None,
) -> None:
    """Trains, translates, prints."""
    from rnnapp import train

    begun = time.monotonic()
    settings = ["preset=large", f"attention={attention}", *(set_ or [])]
    run = train("translation", data, out, settings=settings)
    figures = run.metrics()["training"]
    print(
        f"{attention}: {figures['parameters']:,} parameters, trained in "
        f"{figures['seconds'] / 60:.1f} minutes, best epoch {figures['best_epoch']} of "
        f"{figures['epochs']}; {(time.monotonic() - begun) / 60:.1f} minutes with the reading"
    )
    pipeline = run.load_pipeline().open(str(data))
    for beam_size in (1, 4):
        spec = dataclasses.replace(
            run.spec.evaluation, beam_size=beam_size, max_sentences=sentences
        )
        _judge(run, pipeline, spec)
    print(f"all took {(time.monotonic() - begun) / 60:.1f} minutes")


def _judge(run: Run, pipeline: PairPipeline, spec: DecodingSpec) -> None:
    """Translates the held-out sources, and prints what the translations are worth."""
    from rnnapp import progress

    begun, task = time.monotonic(), run.task
    with progress.bar("Translating") as report:
        made = task.answers(run.load_model(), pipeline, "test", "test", spec, report)
    figures = task.score(made)
    print(
        f"\nbeam of {spec.beam_size}: {figures['sentences']} of {figures['sentences_in_split']} "
        f"held-out sources in {time.monotonic() - begun:.0f} s\n"
        f"  all references    BLEU {figures['bleu']:.2f}  chrF {figures['chrf']:.2f}\n"
        f"  single reference  BLEU {figures['bleu_single']:.2f}  "
        f"chrF {figures['chrf_single']:.2f}\n"
        f"  teacher-forced    accuracy {figures['accuracy']:.1%}  perplexity "
        f"{figures['perplexity']:.2f}; {figures['unended']} translations have no end\n"
        f"  {figures['signature']}"
    )
    for example in figures["examples"]:
        print(f"  {example['source']}\n    {example['translation']}")


if __name__ == "__main__":
    typer.run(main)
