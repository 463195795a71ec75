"""Recordings to batches of waveforms: folders or tensorflow-datasets in, tf.data out."""

from __future__ import annotations

import csv
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import audio_files, audio_index, audio_store, audio_tfds, augmentation, noise, rooms
from pipelines.ahead import cores, made_ahead
from pipelines.audio_index import Clip
from pipelines.audio_spec import NO_AUGMENTATION, AudioSpec, AugmentationSpec
from pipelines.audio_store import ClipStore
from pipelines.base import (
    SPLITS,
    BadInputWarning,
    Fitted,
    Progress,
    bucket_boundaries,
    bucketed_batches,
    require,
)

__all__ = ["NO_AUGMENTATION", "AudioPipeline", "AudioSpec", "AugmentationSpec"]


class AudioPipeline(Fitted):
    """Labelled recordings as batches `({"waveform", "lengths"}, labels)`, padded on the right.

    Args:
        spec: The settings.
    """

    def __init__(self, spec: AudioSpec | None = None) -> None:
        self.spec = spec or AudioSpec()
        super().__init__(self.spec.on_bad_input)
        self.labels: tuple[str, ...] = ()
        self.clips: list[Clip] = []
        self._seed = 0
        self._store: ClipStore
        self._noise: list[tuple[str, float]] = []
        self._sources: augmentation.Sources | None = None  # read when training first asks

    def fit(self, data: str, seed: int = 0, progress: Progress | None = None) -> AudioPipeline:
        """Finds the classes and splits of some data, and decodes all of it.

        Args:
            data: A folder of `word/*.wav`, several with commas between, or `tfds:NAME[/CONFIG]`.
            seed: Draws the clips of `_unknown_` and the cuts of `_silence_`.
            progress: Called with (done, total) clips.

        Returns:
            The pipeline itself.

        Raises:
            FileNotFoundError: If a folder is absent.
            ValueError: If there are no clips, a single class, a word without clips, or any bad
                input where `on_bad_input` is "stop".
        """
        self.labels, self._seed = (), seed
        self._reread(data, False, progress)
        self.sources()  # so that a wrong folder of noise is found now
        trained = {clip.label for clip in self.clips if clip.split == "train"}
        if set(self.labels) - trained:
            raise ValueError(
                f"{data}: every class must have clips in the training split. Received none of: "
                f"{', '.join(sorted(set(self.labels) - trained))}. Add clips of further speakers, "
                "lower validation_percent and testing_percent, or split anew by split_salt."
            )
        return self

    @property
    def fitted(self) -> bool:
        """Whether labels are known."""
        return bool(self.labels)

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(self.labels)

    @property
    def splits(self) -> dict[str, int]:
        """How many clips each split has."""
        return {split: len(self._rows(split)) for split in SPLITS}

    @property
    def element_spec(self) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
        """The batches' types: waveform float32 (batch, samples), lengths and labels int32."""
        vector = tf.TensorSpec([None], tf.int32)
        waveform = tf.TensorSpec([None, self.spec.window], tf.float32)
        return {"waveform": waveform, "lengths": vector}, vector

    def dataset(
        self,
        split: str,
        batch_size: int,
        *,
        training: bool = False,
        seed: int = 0,
        epoch: tf.Variable | int = 0,
        repeat: bool = False,
    ) -> tf.data.Dataset:
        """Batches of a split.

        Args:
            split: "train", "validation" or "test".
            batch_size: Clips in a batch; the last of a bucket may have fewer.
            training: Shuffle and augment, both as (seed, epoch) says and nothing else.
            seed: The run's seed.
            epoch: Which pass this is. A variable (on the CPU) is read anew by each iteration, so
                that one dataset object serves all epochs.
            repeat: Go on with the passes that follow, without end and without a pause between
                two, for `fit(steps_per_epoch=pipeline.num_batches(...))`.

        Returns:
            A dataset of `({"waveform": float32 (batch, samples), "lengths": int32 (batch,)},
            labels int32 (batch,))`.

        Raises:
            ValueError: If the split is unknown or empty.
        """
        rows = self._checked_rows(split)
        lengths = self._store.lengths[rows]

        def one_pass(after: tf.Tensor) -> tf.data.Dataset:
            now = tf.cast(epoch, tf.int64) + after
            order = tf.range(len(rows), dtype=tf.int64)
            if training:
                order = tf.random.experimental.stateless_shuffle(order, tf.stack([seed, now]))
            clips = tf.data.Dataset.from_tensor_slices(
                (tf.gather(rows, order), tf.gather(lengths, order))
            )
            batches = self._batch(clips, lengths, batch_size).enumerate()
            return batches.map(lambda number, batch: (now, number, *batch))

        make = self._augmented(seed) if training else self._plain
        passes = tf.data.Dataset.range(tf.int64.max if repeat else 1)
        batches = passes.flat_map(one_pass).map(make, num_parallel_calls=cores())
        return made_ahead(batches, self.num_batches(split, batch_size), repeat)

    def num_batches(self, split: str, batch_size: int) -> int:
        """How many batches a pass over a split has.

        Raises:
            ValueError: If the split is unknown or empty.
        """
        lengths = self._store.lengths[self._checked_rows(split)]
        return bucketed_batches(lengths, self._boundaries(lengths), batch_size)

    def encode(self, *raw: Any, sample_rate: int | None = None) -> dict[str, np.ndarray]:
        """Makes the inputs of one batch, as training sees them without augmentation.

        Args:
            *raw: Files, or float arrays (samples,) in [-1, 1].
            sample_rate: The arrays' rate, in hertz; None where it is the pipeline's.

        Returns:
            `{"waveform": float32 (batch, samples), "lengths": int32 (batch,)}`.

        Raises:
            BadAudio: If a recording cannot be used.
        """
        parts = [self._encode(one, sample_rate or self.spec.sample_rate) for one in raw]
        store = audio_store.store(parts)
        width = self.spec.window or int(store.lengths.max())
        waveform = store.gather(np.arange(len(parts)), width)
        lengths = store.lengths
        if self.spec.window:
            lengths = np.full_like(lengths, self.spec.window)
        return {"waveform": waveform.astype(np.float32) / 32768, "lengths": lengths}

    def sources(self) -> augmentation.Sources:
        """The noise and rooms that augmentation draws from."""
        if self._sources is None:
            known = len(self._bad.found)
            with tf.device("CPU"):  # where tf.data runs, even if there is a GPU
                self._sources = augmentation.Sources(
                    noise=noise.bank(self._noise, self.spec, self._seed, self._bad),
                    rooms=rooms.bank(self.spec, self._seed, self._bad),
                )
            self._bad.warn(known)
        return self._sources

    def save(self, folder: str | Path) -> None:
        """Writes labels, settings and splits; the recordings stay where they are.

        Args:
            folder: Made if absent; takes `labels.txt`, `pipeline.json` and `splits.csv`.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{label}\n" for label in self.labels)
        (folder / "labels.txt").write_text(lines, encoding="utf-8")
        state = {"spec": dataclasses.asdict(self.spec), "seed": self._seed}
        (folder / "pipeline.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
        with open(folder / "splits.csv", "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(field.name for field in dataclasses.fields(Clip))
            rows.writerows(dataclasses.astuple(clip) for clip in self.clips)

    @classmethod
    def load(cls, folder: str | Path) -> AudioPipeline:
        """Reads what `save` wrote; `open` then attaches data.

        Raises:
            FileNotFoundError: If the folder holds no pipeline.
        """
        folder = Path(folder)
        state = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
        pipeline = cls(AudioSpec(**state["spec"]))
        pipeline._seed = state["seed"]
        labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        pipeline.labels = tuple(labels)
        return pipeline

    def _read(self, data: str, test_only: bool, progress: Progress | None) -> None:
        """Indexes and decodes `data`, and warns of what was skipped or cut."""
        indexer, decoder = audio_index.index, audio_store.decode
        if data.startswith(audio_tfds.PREFIX):
            indexer, decoder = audio_tfds.index, audio_tfds.decode
        index = indexer(
            data, self.spec, self._bad, seed=self._seed, labels=self.labels, test_only=test_only
        )
        self.labels, self._noise, self._sources, self.clips = index.labels, index.noise, None, []
        decoded = decoder(
            index.clips, self.spec.sample_rate, self.spec.max_samples, self._bad, progress
        )
        self._store = audio_store.store(self._keep(decoded))
        self._bad.warn()
        if not self.clips:
            raise ValueError(f"{data}: there must be at least one usable clip. Received none.")

    def _keep(self, decoded: Iterable[tuple[Clip, np.ndarray, bool]]) -> Iterator[np.ndarray]:
        cut = []
        for clip, samples, was_cut in decoded:
            self.clips.append(clip)
            cut += [clip.path] if was_cut else []
            yield samples
        if cut:
            seconds = self.spec.max_samples / self.spec.sample_rate
            warnings.warn(
                f"{len(cut)} clips were longer than {seconds:g} s and were cut around "
                f"their loudest part, {cut[0]} for one.",
                BadInputWarning,
                4,
            )

    def _rows(self, split: str) -> np.ndarray:
        return np.flatnonzero([clip.split == split for clip in self.clips])

    def _checked_rows(self, split: str) -> np.ndarray:
        require(split in SPLITS, "split", f"one of {', '.join(SPLITS)}", split)
        rows = self._rows(split)
        if not len(rows):
            raise ValueError(
                f"The {split} split must not be empty. Received: {self.splits}. "
                "Add speakers, or change validation_percent and testing_percent."
            )
        return rows

    def _boundaries(self, lengths: np.ndarray) -> list[int]:
        """Where clips keep their own length, those of similar length share a batch."""
        return [] if self.spec.window else bucket_boundaries(lengths)

    def _batch(
        self, clips: tf.data.Dataset, lengths: np.ndarray, batch_size: int
    ) -> tf.data.Dataset:
        boundaries = self._boundaries(lengths)
        if not boundaries:
            return clips.batch(batch_size)
        return clips.bucket_by_sequence_length(
            lambda row, length: length, boundaries, [batch_size] * (len(boundaries) + 1)
        )

    def _load(self, rows: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Copies a batch out of the store: waveform (batch, samples) and labels (batch,)."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        labels = tf.constant([numbers[clip.label] for clip in self.clips], tf.int32)
        width = self.spec.window or tf.reduce_max(lengths)
        samples = tf.numpy_function(self._store.gather, [rows, width], tf.int16)
        samples.set_shape([None, self.spec.window])  # (batch, samples)
        return tf.cast(samples, tf.float32) / 32768, tf.gather(labels, rows)

    def _plain(
        self, epoch: tf.Tensor, number: tf.Tensor, rows: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """A batch as it is in the store."""
        waveform, labels = self._load(rows, lengths)
        return self._inputs(waveform, lengths), labels

    def _augmented(self, seed: int) -> Callable[..., tuple[dict[str, tf.Tensor], tf.Tensor]]:
        """`_load`, and then augmentation as (seed, epoch, number of the batch) says."""
        spec, sources = self.spec, self.sources()

        def make(
            epoch: tf.Tensor, number: tf.Tensor, rows: tf.Tensor, lengths: tf.Tensor
        ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            waveform, labels = self._load(rows, lengths)
            key = tf.random.fold_in(tf.random.fold_in([seed, 0], epoch), number)
            return self._inputs(
                *augmentation.augment(waveform, lengths, key, spec, sources)
            ), labels

        return make

    def _inputs(self, waveform: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch as models take it: a window is heard whole, the zeros behind a clip included."""
        if self.spec.window:
            lengths = tf.fill(tf.shape(lengths), self.spec.window)
        return {"waveform": waveform, "lengths": lengths}

    def _encode(self, raw: Any, sample_rate: int) -> np.ndarray:
        if isinstance(raw, str | Path):
            samples = audio_files.read(raw, self.spec.sample_rate)
        else:
            samples = audio_files.convert(raw, sample_rate, self.spec.sample_rate)
        return audio_store.cut(samples, self.spec.max_samples)[0]
