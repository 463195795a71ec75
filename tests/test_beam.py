"""A pipeline of Beam's local runner answers what `predict` answers, without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnnapp import predict

beam = pytest.importorskip("apache_beam", reason="pip install 'rnnapp[beam]' brings it")

from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402
from apache_beam.testing.test_pipeline import TestPipeline as Pipeline  # noqa: E402
from apache_beam.testing.util import assert_that, equal_to  # noqa: E402

from rnnapp.beam import BAD, Answer  # noqa: E402
from rnnapp.beam.__main__ import counted  # noqa: E402

# Beam's own, none of which a user of it can mend.
pytestmark = pytest.mark.filterwarnings("default:::apache_beam")
TEXTS = ["a good film", "as bad as they come", "what a waste of time"]


def test_the_command_answers_a_list(reader_exported: Path, tmp_path: Path) -> None:
    """Each input once, bad ones in a file of their own; options of Beam's reach it."""
    absent = str(tmp_path / "absent.txt")
    (tmp_path / "list.txt").write_text("\n".join([*TEXTS, "", absent]))
    code = (
        "import sys; from rnnapp.beam.__main__ import main\n"
        "code = main(sys.argv[1:]); print('tensorflow' in sys.modules); sys.exit(code)"
    )
    own = [str(reader_exported), "--input-list", str(tmp_path / "list.txt")]
    beams = ["--runner", "DirectRunner", "--job_name", "words"]
    command = [sys.executable, "-c", code, *own, "--out", str(tmp_path / "a"), *beams]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "False\n" and "3 answered, 1 could not be used" in done.stderr
    assert records(tmp_path, "a-0*") == by_input(predict(reader_exported, TEXTS))
    ((name, bad),) = records(tmp_path, "a-bad*").items()
    assert name == absent and "absent.txt" in bad["error"]


def records(folder: Path, pattern: str) -> dict[str, dict[str, Any]]:
    """What JSON lines in some files say."""
    lines = [line for path in folder.glob(pattern) for line in path.read_text().splitlines()]
    return by_input(map(json.loads, lines))


def by_input(answers: Any) -> dict[str, dict[str, Any]]:
    """Answers by their input, each of which must be there once."""
    listed = list(answers)
    found = {each["input"]: each for each in listed}
    assert len(found) == len(listed)
    return found


class Elsewhere(LocalFileSystem):
    """A file system of Beam's: `elsewhere://` and a path of this machine."""

    @classmethod
    def scheme(cls) -> str:
        """What its URLs begin with."""
        return "elsewhere"

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        """A file of this machine."""
        return super().open(path.removeprefix("elsewhere://"), *arguments, **options)

    def join(self, base: str, *paths: str) -> str:
        """URLs have slashes."""
        return "/".join([base.rstrip("/"), *paths])

    def match(self, patterns: list[str], limits: Any = None) -> Any:
        """Patterns of URLs."""
        found = super().match([each.removeprefix("elsewhere://") for each in patterns], limits)
        for each in (file for result in found for file in result.metadata_list):
            each.path = f"elsewhere://{each.path}"
        return found


def test_keys_stay_with_answers_wherever_files_are(reader_exported: Path, tmp_path: Path) -> None:
    """Also where workers see neither the export nor the inputs, but through Beam."""
    (tmp_path / "letter.txt").write_text(TEXTS[0])
    url = f"elsewhere://{tmp_path}/letter.txt"
    missing = f"elsewhere://{tmp_path}/missing.txt"
    (expected,) = predict(reader_exported, [TEXTS[0]])
    inputs = [(1, TEXTS[0]), (2, url), (3, missing), ((4, "b"), " ")]
    pipeline = Pipeline()
    answers, bad = (
        pipeline
        | beam.Create(inputs)
        | beam.ParDo(Answer(f"elsewhere://{reader_exported}")).with_outputs(BAD, main="answers")
    )
    same = [(1, expected), (2, {**expected, "input": url})]
    assert_that(answers, equal_to(same), "answers")
    named = bad | beam.MapTuple(lambda key, error: (key, missing in error, "whitespace" in error))
    assert_that(named, equal_to([(3, True, False), ((4, "b"), False, True)]), "bad")
    result = pipeline.run()
    result.wait_until_finish()
    assert counted(result) == {"answered": 2, "bad_inputs": 2}


def test_an_export_that_is_not_there_is_named(tmp_path: Path) -> None:
    """By its URL, not by where it would have been copied to."""
    with pytest.raises(ValueError, match=f"elsewhere://{tmp_path} must be an export folder"):
        Answer(f"elsewhere://{tmp_path}").setup()
