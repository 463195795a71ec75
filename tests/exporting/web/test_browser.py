"""A page is written whole, and not for a model that it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnnapp.exporting import browser

from ...conftest import RATE
from .conftest import TITLE


def test_a_model_that_does_not_fit_is_refused(model_path: Path, tmp_path: Path) -> None:
    """Before anything is written: a page with the wrong labels would be believed."""
    folder = tmp_path / "web"
    good: dict[str, Any] = {"labels": list("abcd"), "settings": {"sample_rate": RATE}}
    for changed, message in [
        ({"labels": ["yes", "no"]}, "has 4 classes: there must be as many labels"),
        ({"settings": {"detector": {"threshold": 2.0}}}, "`threshold` must lie above 0"),
        ({"settings": {"detector": {"smoothing_ms": -1}}}, "must not be negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            browser.write(model_path, folder, title=TITLE, **{**good, **changed})
    assert not folder.exists()


@pytest.mark.slow  # needs, the first time, npm's registry
def test_a_page_is_whole_and_small(page_folder: Path) -> None:
    """One build of LiteRT.js is enough; what phones load stays below ten megabytes."""
    assert len(list(page_folder.rglob("*.wasm"))) == 1
    size = sum(path.stat().st_size for path in page_folder.rglob("*") if path.is_file())
    assert size < 10e6
