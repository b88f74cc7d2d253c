"""Tokens of SoftHSM's, each test's own: what a server finds by SOFTHSM2_CONF."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from backends.pkcs11 import Pkcs11Authority, Pkcs11Backend
from est_server.pki.authority import make_root
from est_server.ports.ca import BackendContext
from est_server.ports.secret import Secret

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "12345678"
NOW = datetime.now(UTC)  # noqa: TID251 - certificates that are good today
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Token:
    """One initialised token.

    Attributes:
        folder: of everything: SoftHSM's configuration, its tokens, the PIN.
        label: of the token.
        module: what speaks for it.
    """

    folder: Path
    label: str = "ca"
    module: str = MODULE

    @property
    def configuration(self) -> Path:
        return self.folder / "softhsm2.conf"

    @property
    def objects(self) -> Path:
        """Where SoftHSM keeps its tokens: without it there are none."""
        return self.folder / "tokens"

    @property
    def pin(self) -> Path:
        return self.folder / "pin"

    def uri(self, **others: str | None) -> str:
        """Return the URI of the key `issuing` of this token, with `others` instead."""
        path = {"token": self.label, "object": "issuing", **others}
        path = {name: value for name, value in path.items() if value is not None}
        return f"pkcs11:{';'.join(f'{k}={v}' for k, v in path.items())}?module-path={self.module}"

    def settings(self, certificate: str = "ca.pem", **others: Any) -> Any:
        """Return the settings of a CA in this token, beside `certificate`."""
        keys = {
            "certificate": certificate,
            "key": self.uri(),
            "pin": f"file:{self.pin}",
            "timeout": "20s",
            **others,
        }
        return Pkcs11Backend.settings_model.model_validate(keys)

    def open(self, name: str = "issuing", **others: Any) -> Pkcs11Authority:
        context = BackendContext(name, self.folder, lambda: NOW)
        return Pkcs11Backend().open(self.settings(**others), context)


def new_token(folder: Path, label: str = "ca") -> Token:
    """Return a token without a key; SOFTHSM2_CONF has to name its `configuration`."""
    token = Token(folder, label)
    token.objects.mkdir(parents=True, exist_ok=True)
    token.configuration.write_text(
        f"directories.tokendir = {token.objects}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    token.pin.touch(mode=0o600)
    token.pin.write_text(PIN + "\n")
    softhsm(token, "--init-token", "--free", "--label", label, "--so-pin", PIN, "--pin", PIN)
    return token


def softhsm(token: Token, *arguments: str) -> str:
    done = subprocess.run(
        ["softhsm2-util", *arguments],
        env={"SOFTHSM2_CONF": str(token.configuration), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def make_root_in(token: Token, algorithm: str, key: str = "issuing") -> x509.Certificate:
    """Make a key in the token and a root with it, in `ca.pem`."""
    pin = Secret("file", str(token.pin))
    with Pkcs11Backend().key_store(token.uri(object=None), pin, token.folder) as store:
        kept = store.generate(key, algorithm)
        made = make_root("Token Root", kept.key, lifetime=365 * DAY, now=NOW).certificate
    (token.folder / "ca.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return made
