"""A model's versions: found in its folder, loaded, switched to, and unloaded when nobody asks."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rnnapp.serving.errors import Code, ServingError, invalid
from rnnapp.serving.protocol import Message
from rnnapp.serving.server.batching import Batcher
from rnnapp.serving.signatures import Arrays, Signature
from rnnapp.specs import require

logger = logging.getLogger("rnnapp.serving")
_NUMBER = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)  # what an int64 holds


class State(enum.IntEnum):
    """Where a version stands, as TensorFlow Serving numbers it."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Loaded(Protocol):
    """What a version is when loaded, as `SavedModel`."""

    signatures: dict[str, Signature]
    metadata: Message

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Calls a signature."""


@dataclass(frozen=True)
class Policy:
    """Which versions are served.

    Args:
        latest: As many of the newest; 0 for all.
        only: These and no others, if any.
    """

    latest: int = 1
    only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(self.latest >= 0, "latest", "a number of versions, or 0 for all", self.latest)

    def wanted(self, numbers: set[int]) -> set[int]:
        """Those of the versions at hand that are to be served."""
        if self.only:
            return numbers & set(self.only)
        return set(sorted(numbers)[-self.latest :])


@dataclass(eq=False)
class Version:
    """A version of a model.

    Args:
        number: Its number.
        stamp: What its files looked like when it was loaded, or refused.
    """

    number: int
    stamp: object
    state: State = State.START
    error: ServingError | None = None
    model: Loaded | None = None
    batchers: dict[str, Batcher] = field(default_factory=dict)
    requests: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Model:
    """A model by its versions. All of it belongs to one event loop.

    Args:
        name: What requests call it.
        found: Says which versions there are, and what their files look like, anything that
            changes when they do; in a thread.
        load: Loads a version, in a thread. Raises ValueError or OSError where it must not.
        batcher: Makes what answers requests to a signature of a version.
        policy: Which versions are served.
        labels: Names for versions.
    """

    def __init__(
        self,
        name: str,
        found: Callable[[], dict[int, object]],
        load: Callable[[int], Loaded],
        batcher: Callable[[int, Loaded, Signature], Batcher],
        policy: Policy,
        labels: dict[str, int],
    ) -> None:
        self.name, self.policy, self.labels = name, policy, dict(labels)
        self._found, self._load, self._batcher = found, load, batcher
        self.versions: dict[int, Version] = {}
        self._polling: asyncio.Task[None] | None = None
        self._unloading: set[asyncio.Task[None]] = set()

    @property
    def available(self) -> list[int]:
        """The versions that answer, the newest last."""
        return sorted(n for n, v in self.versions.items() if v.state is State.AVAILABLE)

    @contextlib.contextmanager
    def using(self, spec: Message) -> Iterator[Version]:
        """A version, which stays loaded within the `with` statement.

        Args:
            spec: A ModelSpec.

        Raises:
            ServingError: If there is no such version.
        """
        version = self.versions[self._chosen(spec)]
        version.requests += 1
        try:
            yield version
        finally:
            version.requests -= 1
            if not version.requests:
                version.idle.set()

    def _chosen(self, spec: Message) -> int:
        self.check_name(spec)
        choice, available = spec.WhichOneof("version_choice"), self.available
        if choice == "version_label":
            if spec.version_label not in self.labels:
                raise invalid(
                    f"Unrecognized servable version label: {spec.version_label}. "
                    f"Valid labels: {sorted(self.labels)}"
                )
            number = self.labels[spec.version_label]
        elif choice == "version":
            number = spec.version.value
        elif available:
            return available[-1]
        else:
            raise ServingError(Code.UNAVAILABLE, f"No version of {self.name} is loaded.")
        if number not in available:
            raise ServingError(
                Code.NOT_FOUND,
                f"Servable not found for request: Specific({self.name}, {number}). "
                f"Versions: {available}",
            )
        return number

    def check_name(self, spec: Message) -> None:
        """Makes sure that a request means this model.

        Raises:
            ServingError: If it names another, or none.
        """
        if not spec.name:
            raise invalid("Missing model name in request.")
        if spec.name != self.name:
            raise ServingError(
                Code.NOT_FOUND,
                f"Servable not found for request: Latest({spec.name}). "
                f"The model is called {self.name}",
            )

    async def poll(self) -> None:
        """Loads what is new in the folder and wanted, then unloads what is not wanted any more.

        Whoever waits may be cancelled; what loads goes on, or a version would be half there.
        """
        while self._polling and not self._polling.done():
            await asyncio.wait([self._polling])
        self._polling = asyncio.create_task(self._poll())
        await asyncio.shield(self._polling)

    def close(self) -> None:
        """Ends the look for versions, if there is one under way."""
        if self._polling:
            self._polling.cancel()

    async def _poll(self) -> None:
        stamps = await asyncio.to_thread(self._found)
        while missing := self._missing(stamps):  # an older one, where the newest is refused
            for number in sorted(missing):
                await self._begin(number, stamps[number])
        wanted = self.policy.wanted(stamps.keys() & set(self.available))
        if not wanted:
            return  # better an old version than none
        for number in self.available:
            if number not in wanted:
                self._retire(self.versions[number])

    def _missing(self, stamps: dict[int, object]) -> set[int]:
        """Versions that are wanted and not there, but for those that were refused as they are."""
        known = self.versions
        refused = {n for n, v in known.items() if v.error and v.stamp == stamps.get(n)}
        wanted = self.policy.wanted(stamps.keys() - refused)
        return {n for n in wanted if n not in known or known[n].state is State.END}

    async def _begin(self, number: int, stamp: object) -> None:
        version = self.versions[number] = Version(number, stamp, State.LOADING)
        logger.info("%s: loading version %d", self.name, number)
        try:
            version.model = model = await asyncio.to_thread(self._load, number)
        except Exception as error:  # whatever a broken file makes TensorFlow raise
            version.state = State.END
            version.error = ServingError(Code.FAILED_PRECONDITION, str(error))
            logger.error("%s: version %d is not served. %s", self.name, number, error)
            return
        version.batchers = {
            name: self._batcher(number, model, signature)
            for name, signature in model.signatures.items()
        }
        version.state = State.AVAILABLE
        logger.info("%s: version %d answers", self.name, number)

    def _retire(self, version: Version) -> None:
        """No request finds the version any more; those that it has are answered."""
        version.state = State.UNLOADING
        task = asyncio.create_task(self._unload(version))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _unload(self, version: Version) -> None:
        while version.requests:
            version.idle.clear()
            await version.idle.wait()
        version.batchers, version.model = {}, None
        _collect()
        version.state = State.END
        logger.info("%s: version %d is unloaded", self.name, version.number)

    async def watch(self, seconds: float) -> None:
        """Polls for ever.

        Args:
            seconds: The time between.
        """
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.poll()
            except Exception as error:  # of a disk that is away for a while, say
                logger.error("%s: its folder cannot be read. %s", self.name, error)


def _collect() -> None:
    """Frees a model that is gone: its graphs are cycles, which `serve` has frozen, perhaps."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    gc.collect()
    if frozen:
        gc.freeze()


def versions_in(folder: Path, beside: Callable[[int], Path]) -> dict[int, object]:
    """The versions in a folder, and what their files look like.

    Args:
        folder: The base path, with a folder for each version, named by its number.
        beside: A file that belongs to a version as well.
    """
    numbers = {
        int(each.name)
        for each in folder.iterdir()
        if _NUMBER.fullmatch(each.name) and each.is_dir()
    }
    stamps: dict[int, object] = {}
    for number in numbers:
        with contextlib.suppress(FileNotFoundError):  # it is being removed
            files = [*sorted((folder / str(number)).rglob("*")), beside(number)]
            facts = [(str(each), each.stat()) for each in files if each.exists()]
            stamps[number] = [(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts]
    return stamps
