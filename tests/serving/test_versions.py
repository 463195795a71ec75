"""Versions come and go without a request that is lost, and what is broken is not served."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.protocol import ModelSpec, SignatureDefMap
from rnnapp.serving.server.batching import Batcher, BatchSpec, Slots
from rnnapp.serving.server.versions import Model, Policy, State, versions_in
from rnnapp.serving.signatures import Arrays
from tests.serving.conftest import SUMMING, summed


class Fake:
    """A loaded version."""

    def __init__(self) -> None:
        self.signatures, self.metadata = {"serving_default": SUMMING}, SignatureDefMap()

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Sums."""
        return summed(inputs)


class Folder:
    """What there is to load, changed by tests; versions in `broken` cannot be."""

    def __init__(self, *numbers: int) -> None:
        self.stamps: dict[int, object] = dict.fromkeys(numbers, "first")
        self.broken, self.loads = set[int](), list[int]()

    def load(self, number: int) -> Fake:
        """Loads, and remembers."""
        self.loads.append(number)
        if number in self.broken:
            raise ValueError(f"version {number} has changed")
        return Fake()


def spec(version: int | None = None, label: str = "", name: str = "m") -> Any:
    """A ModelSpec."""
    message = ModelSpec(name=name)
    if version is not None:
        message.version.value = version
    if label:
        message.version_label = label
    return message


def serving(
    folder: Folder,
    then: Callable[[Model], Awaitable[Any]],
    policy: Policy = Policy(),  # noqa: B008  it cannot change
    labels: dict[str, int] | None = None,
) -> None:
    """Does something with a model that has polled once."""

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            slots = Slots(1, pool)
            model = Model(
                "m",
                lambda: dict(folder.stamps),
                folder.load,
                lambda number, loaded, signature: Batcher(signature, summed, BatchSpec(), slots),
                policy,
                labels or {},
            )
            await model.poll()
            await then(model)

    asyncio.run(main())


async def settled() -> None:
    """Lets what was begun end."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_new_version_takes_over_and_the_old_one_ends_its_requests() -> None:
    """A roll-out under traffic loses nothing."""
    folder = Folder(1)

    async def roll_out(model: Model) -> None:
        with model.using(spec()) as old:
            folder.stamps[2] = "first"
            await model.poll()
            await settled()
            assert old.number == 1 and old.state is State.UNLOADING and old.model is not None
            with model.using(spec()) as new:
                assert new.number == 2
            with pytest.raises(ServingError) as caught, model.using(spec(1)):
                pass
            assert caught.value.code is Code.NOT_FOUND
        await settled()
        assert old.state is State.END and old.model is None and not old.batchers

    serving(folder, roll_out)


def test_back_to_the_old_version_by_taking_the_new_one_away() -> None:
    """A roll-back is the removal of a folder; the old one is loaded before the new one goes."""
    folder = Folder(1, 2)

    async def roll_back(model: Model) -> None:
        assert model.available == [2] and folder.loads == [2]
        del folder.stamps[2]
        await model.poll()
        assert model.available == [1]
        await settled()
        assert model.versions[2].state is State.END

    serving(folder, roll_back)


def test_a_broken_version_is_refused_once_and_the_old_one_stays() -> None:
    """A half-copied folder costs nothing; when it is whole, it is served."""
    folder = Folder(1)

    async def mend(model: Model) -> None:
        folder.stamps[2] = "half"
        folder.broken.add(2)
        for _ in range(3):
            await model.poll()
        assert model.available == [1] and folder.loads == [1, 2]
        refused = model.versions[2]
        assert refused.state is State.END and refused.error is not None
        assert "has changed" in refused.error.message
        folder.stamps[2] = "whole"
        folder.broken.clear()
        await model.poll()
        assert model.available == [2] and model.versions[2].error is None

    serving(folder, mend)


def test_where_the_newest_is_broken_the_next_one_starts() -> None:
    """A server that starts again must not be worse off than one that went on."""
    folder = Folder(1, 2, 3)
    folder.broken |= {2, 3}

    async def look(model: Model) -> None:
        assert model.available == [1] and folder.loads == [3, 2, 1]

    serving(folder, look)


def test_an_empty_folder_ends_no_service() -> None:
    """A disk that is away for a while, or a folder moved by mistake."""
    folder = Folder(1)

    async def empty(model: Model) -> None:
        folder.stamps.clear()
        await model.poll()
        assert model.available == [1]

    serving(folder, empty)


@settings(deadline=None)
@given(st.sets(st.integers(0, 9)), st.integers(0, 4), st.sets(st.integers(0, 9)))
def test_a_policy_wants_the_newest_or_those_it_names(
    numbers: set[int], latest: int, only: set[int]
) -> None:
    """And nothing that is not there."""
    wanted = Policy(latest, tuple(only)).wanted(numbers)
    if only:
        assert wanted == numbers & only
    else:
        assert wanted <= numbers and len(wanted) == min(len(numbers), latest or len(numbers))
        assert all(w > n for w in wanted for n in numbers - wanted)


def test_who_waits_no_longer_leaves_no_version_half_loaded() -> None:
    """A client that asks for a reload may hang up, or have set a time too short for it."""
    folder, loading = Folder(1), threading.Event()
    load = folder.load

    def slow(number: int) -> Fake:
        loading.wait(10)
        return load(number)

    folder.load = slow  # type: ignore[method-assign]

    async def hang_up(model: Model) -> None:
        folder.stamps[2] = "first"
        loading.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(model.poll(), 0.05)
        assert model.versions[2].state is State.LOADING
        loading.set()
        await model.poll()
        assert model.available == [2] and folder.loads == [1, 2]

    loading.set()
    serving(folder, hang_up)


def test_a_look_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is that a folder does."""
    folder = Folder(1)

    async def fail(model: Model) -> None:
        watching = asyncio.create_task(model.watch(0.01))
        stamps, folder.stamps = folder.stamps, None  # type: ignore[assignment]
        await asyncio.sleep(0.1)
        folder.stamps = {**stamps, 2: "first"}
        while model.available != [2]:
            await asyncio.sleep(0.01)
        watching.cancel()
        model.close()

    serving(folder, fail)
    assert "its folder cannot be read" in caplog.text


def test_labels_and_numbers_choose() -> None:
    """And what cannot be chosen is said in TensorFlow Serving's codes."""

    async def choose(model: Model) -> None:
        for message, number in ((spec(), 3), (spec(2), 2), (spec(label="stable"), 2)):
            with model.using(message) as version:
                assert version.number == number
        for message, code in (
            (spec(9), Code.NOT_FOUND),
            (spec(label="gone"), Code.NOT_FOUND),
            (spec(label="x"), Code.INVALID_ARGUMENT),
            (spec(name="other"), Code.NOT_FOUND),
            (spec(name=""), Code.INVALID_ARGUMENT),
        ):
            with pytest.raises(ServingError) as caught, model.using(message):
                pass
            assert caught.value.code is code

    serving(Folder(1, 2, 3), choose, Policy(2), {"stable": 2, "gone": 1})


def test_folders_that_are_no_versions_are_passed_over(tmp_path: Path) -> None:
    """Configurations lie beside, and copies that are not finished."""
    for name in ("1", "20", "007", "x", "2.partial", "-3", "٣", "9" * 19):
        (tmp_path / name).mkdir()
    (tmp_path / "5").write_text("a file")
    assert versions_in(tmp_path, lambda number: tmp_path / f"{number}.json").keys() == {1, 20}


def test_a_change_of_any_file_changes_the_stamp(tmp_path: Path) -> None:
    """Or a version that was refused would stay so when it is mended."""
    (tmp_path / "1" / "variables").mkdir(parents=True)
    stamps = []
    for write in ("1/saved_model.pb", "1/variables/data", "1.json"):
        stamps.append(versions_in(tmp_path, lambda n: tmp_path / f"{n}.json")[1])
        (tmp_path / write).write_text("x")
    stamps.append(versions_in(tmp_path, lambda n: tmp_path / f"{n}.json")[1])
    assert len({str(stamp) for stamp in stamps}) == 4
