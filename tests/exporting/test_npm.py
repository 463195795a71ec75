"""Packages of npm: fetched once, never another file than the one that was published."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from rnnapp.exporting import npm
from rnnapp.exporting.npm import Package


def archive(content: bytes) -> bytes:
    """A package with one file, as npm lays it out."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        member = tarfile.TarInfo("package/dist/index.js")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


PUBLISHED = archive(b"export const answer = 42;")
DIGEST = base64.b64encode(hashlib.sha512(PUBLISHED).digest()).decode()
PACKAGE = Package("@scope/answers", "1.2.3", f"sha512-{DIGEST}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no npm."""
    monkeypatch.setenv("RNNAPP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "home"


def install_npm(home: Path, script: str) -> None:
    """A program in the place of npm: `arguments` are the command line, `file` is what to make."""
    path = home.with_name("bin") / "npm"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\narguments = sys.argv[1:]\n"
        "folder = pathlib.Path(arguments[arguments.index('--pack-destination') + 1])\n"
        f"file = folder / {PACKAGE.file_name!r}\n{script}\n"
    )
    path.chmod(0o755)


def publish(content: bytes) -> str:
    """What npm does where the registry has this file."""
    return f"assert arguments[:2] == ['pack', '@scope/answers@1.2.3']; file.write_bytes({content})"


def test_a_package_is_fetched_once(home: Path, tmp_path: Path) -> None:
    """An export on a train must not need the registry again."""
    install_npm(home, publish(PUBLISHED))
    npm.extract(PACKAGE, ["dist/index.js"], tmp_path / "page" / "litert")
    assert (tmp_path / "page" / "litert" / "index.js").read_text() == "export const answer = 42;"
    install_npm(home, "sys.exit('asked twice')")
    assert npm.fetch(PACKAGE) == home / "npm" / "scope-answers-1.2.3.tgz"
    assert list((home / "npm").iterdir()) == [npm.fetch(PACKAGE)]


def test_a_damaged_file_is_fetched_again(home: Path) -> None:
    """A full disk or a kill may have left half of it."""
    install_npm(home, publish(PUBLISHED))
    npm.fetch(PACKAGE).write_bytes(PUBLISHED[:50])
    assert npm.fetch(PACKAGE).read_bytes() == PUBLISHED


def test_another_file_than_the_published_is_refused(home: Path) -> None:
    """It would run on the pages of whoever trusts the export."""
    install_npm(home, publish(archive(b"export const answer = 'malice';")))
    with pytest.raises(ValueError, match=r"must be the file that was published, sha512-.*Received"):
        npm.fetch(PACKAGE)
    assert not list((home / "npm").iterdir())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "npm is not installed: it comes with Node.js"),
        ("sys.exit('npm error code ENOTFOUND')", "npm error code ENOTFOUND"),
        ("sys.exit(7)", "code 7"),
        ("", "no file"),
    ],
    ids=["no npm", "offline", "silent", "no file"],
)
def test_a_package_out_of_reach_is_named(home: Path, script: str | None, reason: str) -> None:
    """Offline, the message must say which file to bring, and where to put it."""
    if script is not None:
        install_npm(home, script)
    with pytest.raises(ConnectionError) as raised:
        npm.fetch(PACKAGE)
    message = str(raised.value)
    assert reason in message and "npm pack @scope/answers@1.2.3" in message
    (home / "npm" / PACKAGE.file_name).write_bytes(PUBLISHED)
    assert f"copy {PACKAGE.file_name} into {home / 'npm'}" in message
    assert npm.fetch(PACKAGE).read_bytes() == PUBLISHED
