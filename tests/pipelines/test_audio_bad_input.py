"""Recordings that cannot be heard, or not train: named, counted, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.audio import AudioPipeline, AugmentationSpec
from pipelines.base import BadInputWarning

from .conftest import RATE, batches, plain, record


def test_bad_files_are_counted_and_the_run_goes_on(folder: Path) -> None:
    """Each bad file is named with its reason, the rest trains, and one warning sums up."""
    (folder / "yes" / "empty.wav").touch()
    (folder / "yes" / "text.wav").write_text("no sound")
    (folder / "no" / "gone.wav").symlink_to("nowhere")
    record(folder / "no" / "none.wav", np.zeros(0))
    with pytest.warns(BadInputWarning, match="4 bad inputs were skipped") as caught:
        pipeline = AudioPipeline(plain()).fit(str(folder))
    assert sum(pipeline.splits.values()) == 60
    assert {Path(where).name for where, _ in pipeline.bad_inputs} == {
        "empty.wav",
        "text.wav",
        "gone.wav",
        "none.wav",
    }
    assert all(why.startswith("the file must ") for _, why in pipeline.bad_inputs)
    assert str(folder / "yes" / "empty.wav") in str(caught[0].message)
    assert len(batches(pipeline.dataset("train", 8))) > 0


def test_bad_file_can_stop_the_run(folder: Path) -> None:
    """With `on_bad_input="stop"`, the first bad file is the error, with what to do."""
    (folder / "yes" / "empty.wav").touch()
    with pytest.raises(ValueError, match=r"empty\.wav: .*0 bytes.*on_bad_input=skip"):
        AudioPipeline(plain(on_bad_input="stop")).fit(str(folder))


def test_long_clips_are_cut_with_a_warning(folder: Path) -> None:
    """A recording longer than the window, of ten minutes too, keeps its loudest part."""
    samples = np.zeros(600 * RATE)
    samples[300_000:300_400] = 0.5
    record(folder / "yes" / "long.wav", samples)
    with pytest.warns(BadInputWarning, match=r"1 clips were longer than 1 s.*long\.wav"):
        pipeline = AudioPipeline(plain()).fit(str(folder))
    row = [Path(clip.path).name for clip in pipeline.clips].index("long.wav")
    kept = pipeline._store.gather(np.array([row]), RATE)[0]
    assert np.sum(kept == 16384) == 400


def test_data_that_cannot_train_is_refused(folder: Path) -> None:
    """Nothing usable, a class without training clips, an empty split: each says what to do."""
    with pytest.raises(ValueError, match=r"must have clips in the training split.*no, yes"):
        AudioPipeline(plain(validation_percent=50, testing_percent=50)).fit(str(folder))
    pipeline = AudioPipeline(plain(validation_percent=0)).fit(str(folder))
    with pytest.raises(ValueError, match=r"validation split must not be empty"):
        pipeline.dataset("validation", 8)
    with pytest.raises(ValueError, match=r"one of train, validation, test.*split='val'"):
        pipeline.dataset("val", 8)
    with pytest.raises(ValueError, match="must be fitted or loaded"):
        AudioPipeline(plain()).open(str(folder))
    for path in folder.glob("*/*.wav"):
        path.write_bytes(b"")
    with (
        pytest.warns(BadInputWarning, match="60 bad"),
        pytest.raises(ValueError, match="at least one usable clip"),
    ):
        AudioPipeline(plain()).fit(str(folder))


@pytest.mark.parametrize("setting", ["noise", "rooms"])
def test_wrong_folder_of_noise_or_rooms_is_named(folder: Path, setting: str) -> None:
    """An absent or empty folder is refused when fitting, not deep inside training."""
    augmented = {"augmentation": AugmentationSpec()}
    with pytest.raises(FileNotFoundError, match=f"`{setting}` must be a folder"):
        AudioPipeline(plain(**augmented | {setting: "gone"})).fit(str(folder))
    (folder / "yes" / "empty").mkdir()
    with pytest.raises(ValueError, match=f"`{setting}` must be.*holds none"):
        AudioPipeline(plain(**augmented | {setting: str(folder / "yes/empty")})).fit(str(folder))
