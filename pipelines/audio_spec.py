"""Settings of the audio pipeline: plain data, checked when made, free of TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipelines.base import Policy, require

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentationSpec:
    """What is done to clips in training, each to a drawn share of them.

    Every `*_probability` is the share of clips; every range is drawn from uniformly (`speed`
    uniformly in its logarithm).

    Args:
        time_shift_ms: How far a clip may hang over either edge of its window, in milliseconds. A
            clip shorter than the window also lands anywhere inside it.
        time_shift_probability: Share of clips that are moved.
        speed: Factor by which speech gets faster, its pitch with it.
        speed_probability: Share of clips whose speed changes.
        pitch_semitones: Shift of pitch that leaves the duration, in semitones.
        pitch_probability: Share of clips whose pitch changes.
        room_decay_seconds: Time in which a generated room's echo falls by 60 dB, in seconds.
        room_probability: Share of clips heard in a room.
        equalizer_db: Largest gain or loss of a microphone's smooth frequency response, in dB.
        equalizer_probability: Share of clips heard through such a microphone.
        telephone_probability: Share of clips cut to the band of a telephone, 300 to 3400 Hz.
        noise_snr_db: Signal-to-noise ratio of background noise, in dB.
        noise_probability: Share of clips with background noise.
        babble_snr_db: Signal-to-noise ratio of other voices, in dB.
        babble_probability: Share of clips with other voices behind them.
        clipping_db: How far below a clip's peak a converter cuts it off, in dB.
        clipping_probability: Share of clips cut off.
        gain_db: Change of level, in dB.
        gain_probability: Share of clips whose level changes.
    """

    time_shift_ms: float = 100.0
    time_shift_probability: float = 1.0
    speed: Range = (0.8, 1.25)
    speed_probability: float = 0.5
    pitch_semitones: Range = (-3.0, 3.0)
    pitch_probability: float = 0.1
    room_decay_seconds: Range = (0.1, 0.6)
    room_probability: float = 0.5
    equalizer_db: float = 8.0
    equalizer_probability: float = 0.5
    telephone_probability: float = 0.05
    noise_snr_db: Range = (0.0, 35.0)
    noise_probability: float = 0.8
    babble_snr_db: Range = (5.0, 30.0)
    babble_probability: float = 0.1
    clipping_db: Range = (0.0, 12.0)
    clipping_probability: float = 0.05
    gain_db: Range = (-20.0, 6.0)
    gain_probability: float = 1.0

    def __post_init__(self) -> None:
        """Checks every range and probability."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.endswith("_probability"):
                require(0 <= value <= 1, f.name, "in [0, 1]", value)
            elif isinstance(value, list | tuple):
                require(
                    len(value) == 2 and value[0] <= value[1],
                    f.name,
                    "two numbers, the lower first",
                    value,
                )
                object.__setattr__(self, f.name, tuple(value))
            else:
                require(value >= 0, f.name, "zero or more", value)
        require(self.speed[0] > 0, "speed", "positive", self.speed)
        require(
            self.room_decay_seconds[0] > 0,
            "room_decay_seconds",
            "positive",
            self.room_decay_seconds,
        )
        require(self.clipping_db[0] >= 0, "clipping_db", "zero or more", self.clipping_db)


_OFF: dict[str, Any] = {
    f.name: 0.0 for f in fields(AugmentationSpec) if f.name.endswith("_probability")
}
NO_AUGMENTATION = AugmentationSpec(**_OFF)


@dataclass(frozen=True)
class AudioSpec:
    """How recordings become labelled, padded batches of waveforms.

    Args:
        sample_rate: Samples a second after reading, in hertz; other rates are resampled.
        clip_seconds: Window of a clip, in seconds. Shorter clips are padded with zeros that are
            heard, as on a device; of longer ones the stretch with the most energy is kept. None
            keeps every clip's own length, and masks what pads it in a batch.
        max_seconds: Where `clip_seconds` is None, clips longer than this are cut, in seconds.
        words: Folders that are classes of their own; all others become `_unknown_`. None makes
            every folder a class.
        unknown_ratio: Clips of other words in `_unknown_`, as a multiple of a word's average.
        silence_ratio: Clips cut from `_background_noise_` where there is no `_silence_` folder,
            as a multiple of a word's average.
        validation_percent: Share of speakers in the validation split, in percent.
        testing_percent: Share of speakers in the test split, in percent.
        split_salt: Text hashed with each speaker. "" gives the official splits of Speech Commands;
            anything else other ones, for a folder that is but one part of the official data.
        on_bad_input: "skip" leaves out what cannot be read and counts it; "stop" raises.
        noise: Folder of background noises for augmentation.
        rooms: Folder of room impulse responses for augmentation.
        augmentation: What is done to clips in training.
    """

    sample_rate: int = 16000
    clip_seconds: float | None = 1.0
    max_seconds: float = 20.0
    words: tuple[str, ...] | None = None
    unknown_ratio: float = 1.0
    silence_ratio: float = 1.0
    validation_percent: float = 10.0
    testing_percent: float = 10.0
    split_salt: str = ""
    on_bad_input: Policy = "skip"
    noise: str | None = None
    rooms: str | None = None
    augmentation: AugmentationSpec = field(default_factory=AugmentationSpec)

    def __post_init__(self) -> None:
        """Checks the fields, and takes lists and mappings as JSON gives them."""
        if isinstance(self.augmentation, dict):
            object.__setattr__(self, "augmentation", AugmentationSpec(**self.augmentation))
        require(
            isinstance(self.sample_rate, int) and self.sample_rate > 0,
            "sample_rate",
            "a positive integer",
            self.sample_rate,
        )
        for name in ("noise", "rooms"):  # whole paths: a run goes on from whatever directory
            folder = getattr(self, name)
            if folder is not None and Path(folder).exists():
                object.__setattr__(self, name, str(Path(folder).resolve()))
        for name in ("clip_seconds", "max_seconds"):
            value = getattr(self, name)
            require(value is None or value > 0, name, "a positive number", value)
        for name in ("unknown_ratio", "silence_ratio"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))
        for name in ("validation_percent", "testing_percent"):
            require(getattr(self, name) >= 0, name, "zero or more", getattr(self, name))
        held_out = self.validation_percent + self.testing_percent
        require(held_out <= 100, "validation_percent + testing_percent", "at most 100", held_out)
        require(
            self.on_bad_input in ("skip", "stop"),
            "on_bad_input",
            "one of skip, stop",
            self.on_bad_input,
        )
        if self.words is not None:
            object.__setattr__(self, "words", tuple(self.words))
            require(
                len(set(self.words)) == len(self.words) > 0,
                "words",
                "distinct words, one at least",
                self.words,
            )

    @property
    def window(self) -> int | None:
        """Samples in a clip's window; None where clips keep their own lengths."""
        return None if self.clip_seconds is None else round(self.clip_seconds * self.sample_rate)

    @property
    def max_samples(self) -> int:
        """Samples that a clip may have at most."""
        return self.window or round(self.max_seconds * self.sample_rate)
