"""Audio classification data sets of tensorflow-datasets: features `audio` and `label`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines import audio_files, audio_store
from pipelines.audio_files import BadAudio
from pipelines.audio_index import Clip, Index, assemble
from pipelines.audio_spec import AudioSpec
from pipelines.base import SPLITS, BadInputs, Progress, require, which_split

PREFIX = "tfds:"


def index(
    data: str,
    spec: AudioSpec,
    bad: BadInputs,
    *,
    seed: int = 0,
    labels: Sequence[str] = (),
    test_only: bool = False,
) -> Index:
    """Lists and labels the examples of a data set, downloading it when it is not there.

    The data set's own splits are kept; where it has but one, examples are split by a hash.

    Args:
        data: `tfds:NAME[/CONFIG]`.
        spec: The pipeline's settings.
        bad: Takes what cannot be used.
        seed: Draws the clips of `_unknown_`.
        labels: The classes of an earlier fit; () takes the data set's.
        test_only: Puts all clips into the test split.

    Returns:
        Clips and labels; a clip's path is `tfds:NAME/SPLIT#NUMBER`.

    Raises:
        ModuleNotFoundError: If tensorflow-datasets is not installed.
        ValueError: If the data set has no features `audio` and `label`.
    """
    builder = _builder(data)
    import tensorflow_datasets as tfds

    decoders = {"audio": tfds.decode.SkipDecoding()}
    clips = []
    for split in builder.info.splits:
        for number, example in enumerate(_examples(builder, split, decoders)):
            path = f"{data}/{split}#{number}"
            clips.append(
                Clip(
                    path=path,
                    label=builder.info.features["label"].int2str(int(example["label"])),
                    speaker=path,
                    split="test" if test_only else _split(path, split, builder, spec),
                )
            )
    return assemble(data, clips, [], spec, bad, seed=seed, labels=labels, test_only=test_only)


def decode(
    clips: list[Clip],
    sample_rate: int,
    max_samples: int,
    bad: BadInputs,
    progress: Progress | None = None,
) -> Iterator[tuple[Clip, np.ndarray, bool]]:
    """Reads the examples that `index` chose; arguments and yield as `audio_store.decode`."""
    wanted: dict[tuple[str, str], dict[int, Clip]] = {}
    for clip in clips:
        origin, _, place = clip.path.rpartition("#")
        data, _, split = origin.rpartition("/")
        wanted.setdefault((data, split), {})[int(place)] = clip
    done = 0
    for (data, split), numbered in wanted.items():
        builder = _builder(data)
        rate = builder.info.features["audio"].sample_rate or sample_rate
        for number, example in enumerate(_examples(builder, split)):
            if number not in numbered:
                continue
            clip, done = numbered[number], done + 1
            if progress:
                progress(done, len(clips))
            try:
                samples = _float(example["audio"])
                samples = audio_files.convert(samples, rate, sample_rate, clip.path)
            except BadAudio as error:
                bad.add(clip.path, error.reason)
                continue
            yield clip, *audio_store.cut(samples, max_samples)


def _builder(data: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`data={data}` needs tensorflow-datasets. Run: pip install tensorflow-datasets "
            "importlib_resources"
        ) from error
    builder = tfds.builder(data.removeprefix(PREFIX))
    features = set(builder.info.features)
    require(
        {"audio", "label"} <= features,
        "data",
        "a data set with features audio and label",
        f"{data} with {', '.join(sorted(features))}",
    )
    builder.download_and_prepare()
    return builder


def _examples(builder: Any, split: str, decoders: Any = None) -> Iterator[dict[str, Any]]:
    return builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator()


def _split(path: str, split: str, builder: Any, spec: AudioSpec) -> str:
    if len(builder.info.splits) > 1:
        require(split in SPLITS, "data", f"split into {', '.join(SPLITS)}", f"{path}")
        return split
    return which_split(spec.split_salt + path, spec.validation_percent, spec.testing_percent)


def _float(samples: np.ndarray) -> np.ndarray:
    """Integer samples, of 16 bits in whatever type, as floats in [-1, 1]."""
    return samples / 32768 if np.issubdtype(samples.dtype, np.integer) else samples
