"""Who may listen, and who may ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnapp.serving import Client, Code, ServingError
from rnnapp.serving.server.app import Server, running
from rnnapp.serving.server.settings import ServerSpec, read_keys
from tests.serving.conftest import local

KEY = "k" * 32


def test_ports_that_are_taken_are_named(server: Server, words: Path) -> None:
    """Two servers at one port would answer by turns."""
    taken = int(server.address.rpartition(":")[2])
    with (
        pytest.raises(OSError, match="--port"),
        running(words, ServerSpec(port=taken, rest_port=0)),
    ):
        pass
    taken = int(server.url.rpartition(":")[2])
    with (
        pytest.raises(OSError, match="--rest-port"),
        running(words, ServerSpec(port=0, rest_port=taken)),
    ):
        pass


def test_keys_and_tls(words: Path, tmp_path: Path) -> None:
    """Nobody is answered without a key, nor believes a server whose certificate is unknown."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "keys").write_text(f"# of tests\n\n{'o' * 32}\n{KEY}\n")
    spec = local(
        api_keys=read_keys(tmp_path / "keys"),
        tls_cert=tmp_path / "cert.pem",
        tls_key=tmp_path / "key.pem",
    )
    silence = np.zeros((1, 2400), np.float32)
    with running(words, spec) as server:
        for url in (f"grpcs://{server.address}", server.url):
            options = {"ca_cert": tmp_path / "ca.pem"}
            with Client(url, server.name, api_key=KEY, **options) as asking:
                assert len(asking.predict(silence).labels) == 1
            for key in ("", "wrong", KEY[:-1]):
                with (
                    Client(url, server.name, api_key=key, **options) as asking,
                    pytest.raises(ServingError) as caught,
                ):
                    asking.predict(silence)
                assert caught.value.code is Code.UNAUTHENTICATED
            with (
                Client(url, server.name, api_key=KEY, retries=0) as asking,
                pytest.raises(ServingError) as caught,
            ):
                asking.predict(silence, timeout=5)
            assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", "ü" * 20])
def test_keys_that_are_easily_guessed_are_refused(tmp_path: Path, content: str) -> None:
    """A key file that was forgotten must not open the server."""
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ValueError, match="openssl rand"):
        read_keys(tmp_path / "keys")
