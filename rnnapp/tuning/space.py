"""What can be tuned, and between which values: fields of a run's spec by their dotted paths."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from rnnapp import overrides
from rnnapp.specs import require

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Choice:
    """One of some values, in no order.

    Args:
        values: What there is to choose from, two at least.
    """

    values: tuple[Value, ...]

    @property
    def keys(self) -> tuple[int | float | str, ...]:
        """What an oracle draws from: numbers of one kind, which have an order, or JSON texts."""
        if {type(value) for value in self.values} in ({int}, {float}):
            return cast(tuple[int | float | str, ...], self.values)
        return tuple(map(json.dumps, self.values))

    def key(self, value: Any) -> int | float | str:
        """What stands for a value, or for the first where it is none of them."""
        texts = [json.dumps(each) for each in self.values]
        text = json.dumps(value)
        return self.keys[texts.index(text) if text in texts else 0]

    def nearest(self, key: Any) -> Value:
        """The value of what an oracle has drawn, whose numbers may have lost digits on the way."""
        if isinstance(key, str):
            return self.values[self.keys.index(key)]
        return min(self.values, key=lambda value: abs(cast(float, value) - key))

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a spec has to take."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Args:
        low: The least; an integer where only integers fit.
        high: The greatest.
        log: Draw evenly among orders of magnitude.
        multiple_of: Of integers: what they are multiples of.
    """

    low: int | float
    high: int | float
    log: bool = False
    multiple_of: int = 1

    @property
    def whole(self) -> bool:
        """Whether the numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def key(self, value: Any) -> int | float:
        """What stands for a value, for an oracle: the nearest number; of nothing, to zero."""
        return self.nearest(value if isinstance(value, int | float) else 0)

    def nearest(self, value: Any) -> int | float:
        """The number of the range that is nearest to one; three digits of a fraction are enough."""
        if not self.whole:
            return min(max(float(f"{value:.3g}"), self.low), self.high)
        return min(max(round(value / self.multiple_of) * self.multiple_of, self.low), self.high)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a spec has to take."""
        return self.low, self.high


Tunable = Choice | Range
Space = dict[str, Tunable]
"""By dotted path."""

_SHARE = Range(0.0, 0.5)
# A line for each field that any task's spec may have; a search tunes those that its spec has.
TUNABLES: Space = {
    "model.cell": Choice(("lstm", "gru")),
    "model.units": Range(16, 256, log=True, multiple_of=8),
    "model.num_layers": Range(1, 3),
    "model.dropout": _SHARE,
    "model.pooling": Choice(("last", "mean", "max", "mean_max")),
    "model.output_dropout": _SHARE,
    "model.weight_drop": _SHARE,
    "model.attention": Choice(("bahdanau", "luong")),
    "model.embedding_dim": Range(16, 256, log=True, multiple_of=8),
    "model.embedding.dim": Range(16, 256, log=True, multiple_of=8),
    "model.embedding.token_dropout": Range(0.0, 0.3),
    "model.embedding.dropout": _SHARE,
    "model.front.num_mel_bins": Range(20, 64, multiple_of=4),
    "model.front.time_masks": Range(0, 3),
    "model.front.frequency_masks": Range(0, 3),
    "train.learning_rate": Range(3e-4, 3e-2, log=True),
    "train.batch_size": Choice((16, 32, 64, 128)),
    "train.weight_decay": Range(1e-5, 1e-1, log=True),
    "train.label_smoothing": Range(0.0, 0.2),
    "pipeline.augmentation.speed_probability": Range(0.0, 1.0),
    "pipeline.augmentation.noise_probability": Range(0.0, 1.0),
    "pipeline.augmentation.room_probability": Range(0.0, 1.0),
}


def space_of(
    spec: Any, settings: Sequence[str] = (), tune: Sequence[str] = (), only: Sequence[str] = ()
) -> Space:
    """What a search tunes.

    Args:
        spec: The run's spec, with the settings in it.
        settings: The `key=value` assignments that made it; what they name is fixed.
        tune: `key=LOW..HIGH`, `key=LOW..HIGH:log` or `key=VALUE,VALUE`, which narrow or widen what
            is declared, or add a field.
        only: Keys; nothing but these, and what `tune` names, is tuned. Empty for all.

    Returns:
        Ranges and choices by path.

    Raises:
        ValueError: If a field does not exist, a range is empty, a value does not fit, or a field is
            fixed and tuned.
    """
    fixed = {overrides.resolve(spec, _key(each)) for each in settings if _key(each) != "preset"}
    space = {path: TUNABLES[path] for path in overrides.paths(spec) if path in TUNABLES}
    asked = dict(_parsed(spec, text) for text in tune)
    for path in fixed & asked.keys():
        raise ValueError(
            f"`{path}` cannot be fixed by --set and tuned by --tune: leave out one of them."
        )
    if only:
        kept = {overrides.resolve(spec, key) for key in only}
        for path in kept - (space.keys() | asked.keys()):
            raise ValueError(f"`{path}` has no range: give it one by --tune {path}=LOW..HIGH")
        space = {path: space[path] for path in space if path in kept}
    space = {path: each for path, each in {**space, **asked}.items() if path not in fixed}
    require(bool(space), "tune", "one field at least that --set does not fix", tuple(tune))
    return space


def defaults(spec: Any, space: Space) -> dict[str, Any]:
    """What an oracle tries first: the spec's own values, or the nearest in each range."""
    flat = overrides.to_dict(spec)
    return {path: tunable.key(_value_at(flat, path)) for path, tunable in space.items()}


def _value_at(flat: Any, path: str) -> Any:
    for name in path.split("."):
        flat = flat[name]
    return flat


def settings_of(space: Space, values: Mapping[str, Any]) -> list[str]:
    """The assignments of a trial, as `--set` takes them, of what an oracle has drawn."""
    return [
        f"{path}={json.dumps(tunable.nearest(values[path]))}" for path, tunable in space.items()
    ]


def _key(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def _parsed(spec: Any, text: str) -> tuple[str, Tunable]:
    """A path and what `--tune` says of it, in numbers of the field's own kind."""
    key, equals, said = text.partition("=")
    path = overrides.resolve(spec, key.strip())
    tunable = _range(path, said) if ".." in said else _choice(said)
    if not equals or tunable is None:
        raise ValueError(
            "`--tune` must be key=LOW..HIGH, key=LOW..HIGH:log or key=VALUE,VALUE. "
            f"Received: {text}"
        )
    taken = (overrides.override(spec, f"{path}={json.dumps(value)}") for value in tunable.ends)
    ends = [_value_at(overrides.to_dict(each), path) for each in taken]
    if isinstance(tunable, Choice):
        return path, Choice(tuple(ends))
    low, high = ends
    return path, replace(tunable, low=low, high=high)


def _choice(said: str) -> Choice | None:
    """Two values at least, with commas between."""
    words = [word.strip() for word in said.split(",")]
    values = tuple(dict.fromkeys(map(_value, words)))
    return Choice(values) if len(values) > 1 and "" not in words else None


def _value(word: str) -> Value:
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word


def _range(path: str, said: str) -> Range | None:
    """Numbers from one to another, of those multiples that the declared range has."""
    numbers, _, scale = said.partition(":")
    low, high = map(_value, numbers.split("..", 1))
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    if scale not in ("", "log"):
        return None
    if not low < high or not math.isfinite(high - low):
        raise ValueError(
            f"`{path}` must have a range of more than one value, the lower one first. Received: "
            f"{numbers} (--set {path}={low} would fix it)"
        )
    require(low > 0 or not scale, path, "above zero on a logarithmic scale", low)
    declared = TUNABLES.get(path)
    step = declared.multiple_of if isinstance(declared, Range) else 1
    return Range(low, high, bool(scale), step if not (low % step or high % step) else 1)


def table(space: Space) -> Iterable[tuple[str, str]]:
    """Paths, and their ranges for people."""
    for path, tunable in space.items():
        if isinstance(tunable, Choice):
            yield path, ", ".join(map(str, tunable.values))
        else:
            yield path, f"{tunable.low:g}..{tunable.high:g}" + (":log" if tunable.log else "")
