"""A browser page's model, run by LiteRT.js in real headless Chromium."""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib.util
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from rnnapp.device import TensorInfo
from rnnapp.device.stepper import Runnable

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
Infos = dict[str, dict[str, TensorInfo]]
"""Inputs or outputs by signature and by name."""

# Arrays cross as base64, which keeps their bits; Chromium 140 is the first that knows it.
_LOAD = """async () => {
  const { Model } = await import("./model.js");
  globalThis.model = await Model.load("model.tflite");
  return model.signatures.map((name) => [name, model.inputs(name), model.outputs(name)]);
}"""
_RUN = """async ([signature, inputs]) => {
  const arrays = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
  const decoded = {};
  for (const { name, dtype } of model.inputs(signature)) {
    decoded[name] = new arrays[dtype](Uint8Array.fromBase64(inputs[name]).buffer);
  }
  const outputs = Object.entries(await model.run(signature, decoded));
  const encoded = outputs.map(([name, { buffer }]) => [name, new Uint8Array(buffer).toBase64()]);
  return Object.fromEntries(encoded);
}"""


class BrowserError(RuntimeError):
    """Chromium does not start, or refuses a page, a model or a call, for the reason given."""


def missing() -> str | None:
    """Why pages cannot be replayed on this machine; None if they can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: `pip install playwright`"
    if executable() is None:
        return (
            "there is no Chromium: `apt install chromium-headless-shell` on Debian, "
            "`playwright install chromium` elsewhere"
        )
    return None


@functools.cache
def executable() -> str | None:
    """The path of the Chromium or Chrome on the PATH, or of the one that Playwright fetched."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found:
        return found
    with ThreadPoolExecutor(max_workers=1) as thread:
        own = thread.submit(_playwrights_own).result()
    return own if Path(own).is_file() else None


def version() -> str:
    """What Chromium says of itself: its name and version."""
    asked = [executable() or _NAMES[0], "--version"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "unknown"


def _playwrights_own() -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


@contextlib.contextmanager
def load(folder: Path) -> Iterator[Runnable]:
    """Loads a page's model.

    Args:
        folder: What `rnnapp.exporting.browser.write` made.

    Yields:
        The model, which the page's own `model.js` runs.

    Raises:
        BrowserError: If Chromium does not start, or refuses the model.
    """
    # In a thread of its own: Playwright refuses one that runs an event loop, as notebooks do.
    with served(folder) as url, ThreadPoolExecutor(max_workers=1) as thread:
        tab = thread.submit(_Tab, url).result()
        try:
            yield _PageModel(folder, lambda *call: thread.submit(tab.evaluate, *call).result())
        finally:
            thread.submit(tab.close).result()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder to this machine alone.

    Args:
        folder: The page.

    Yields:
        Its address.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


class _Handler(SimpleHTTPRequestHandler):
    """Says nothing, and names the types itself, which some systems have wrong on record."""

    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: Any) -> None:
        pass


class _Tab:
    """A page in Chromium, to be used in one thread."""

    def __init__(self, url: str) -> None:
        from playwright.sync_api import sync_playwright

        with contextlib.ExitStack() as opened, _as_browser_error():
            playwright = opened.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=executable())
            opened.callback(browser.close)
            self._page = browser.new_page()
            self._page.goto(url)
            self._opened = opened.pop_all()

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What a function of JavaScript returns."""
        with _as_browser_error():
            return self._page.evaluate(script, argument)

    def close(self) -> None:
        """Ends Chromium."""
        self._opened.close()


@contextlib.contextmanager
def _as_browser_error() -> Iterator[None]:
    from playwright.sync_api import Error

    try:
        yield
    except Error as error:
        raise BrowserError(f"Chromium says: {error.message}") from error


class _PageModel:
    """The model of a page; `evaluate` runs a function of JavaScript there."""

    def __init__(self, folder: Path, evaluate: Callable[..., Any]) -> None:
        self.name, self._evaluate = str(folder), evaluate
        described = evaluate(_LOAD)
        self.signatures = [name for name, _, _ in described]
        self._inputs: Infos = {name: _infos(inputs) for name, inputs, _ in described}
        self._outputs: Infos = {name: _infos(outputs) for name, _, outputs in described}

    def inputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's inputs."""
        return dict(self._inputs[signature])

    def outputs(self, signature: str) -> dict[str, TensorInfo]:
        """Describes a signature's outputs."""
        return dict(self._outputs[signature])

    def run(self, signature: str, /, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature."""
        encoded = {
            name: base64.b64encode(np.asarray(inputs[name], info.dtype).tobytes()).decode()
            for name, info in self._inputs[signature].items()
        }
        answers = self._evaluate(_RUN, [signature, encoded])
        return {
            name: np.frombuffer(base64.b64decode(answers[name]), info.dtype).reshape(info.shape)
            for name, info in self._outputs[signature].items()
        }


def _infos(described: list[dict[str, Any]]) -> dict[str, TensorInfo]:
    return {
        info["name"]: TensorInfo(info["name"], tuple(info["shape"]), np.dtype(info["dtype"]))
        for info in described
    }
