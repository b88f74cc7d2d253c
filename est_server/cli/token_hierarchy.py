"""A CA whose key is made in a token: from an empty one to a section of server.yaml."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.config.backends import BackendUnusableError, find_backend, installed
from est_server.errors import BackendUnavailable
from est_server.pki import authority
from est_server.ports.keystore import MakesKeys
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.ports.keystore import KeyStore

RootKept = Literal["token", "file", "offline"]
_YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """What was asked for.

    Attributes:
        backend: who keeps keys.
        location: which token, in the backend's own form.
        pin: what opens it.
        root: where the root's key is: in the same token, in a file, or with somebody else, who
            certifies the issuing CA.
    """

    backend: str
    location: str
    pin: Secret
    root: RootKept

    @classmethod
    def of(cls, location: str, pin: str | None, root: RootKept, option: str) -> TokenWanted:
        """Read options.

        Raises:
            BadParameter: names the option.
        """
        if pin is None:
            text = "say where the token's PIN is: file:PATH or env:NAME"
            raise typer.BadParameter(text, param_hint=f"{option}-pin")
        try:
            secret = Secret.parse(pin)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=f"{option}-pin") from error
        if secret.kind == "file":
            secret = Secret("file", str(Path(secret.name).absolute()))
        return cls(location.partition(":")[0], location, secret, root)


@dataclass(frozen=True, slots=True)
class TokenHierarchy:
    """What was made.

    Attributes:
        settings: the keys of the CA in server.yaml, `backend` first.
        root: None where it is somebody else's.
        issuing: None while it has no certificate.
        csr: DER of its request for one, then.
    """

    settings: Mapping[str, Any]
    root: x509.Certificate | None
    issuing: authority.Authority | None
    csr: bytes | None

    def yaml(self, indent: str) -> str:
        """Return the keys as server.yaml has them; JSON's strings and lists are YAML's."""
        lines = (
            f"{indent}{name}: {value if name == 'backend' else json.dumps(value)}"
            for name, value in self.settings.items()
        )
        return "\n".join(lines) + "\n"


@contextmanager
def made_in_token(
    base: Path, wanted: TokenWanted, algorithm: str, name: str, now: datetime, root_file: str
) -> Iterator[TokenHierarchy]:
    """Make keys in the token and files in `base`/ca; the issuing key signs until the block ends.

    Args:
        base: the folder of server.yaml.
        wanted: where.
        algorithm: of every key.
        name: of the CA in server.yaml; its key and its files have it too.
        now: the time.
        root_file: what the root's files are called.

    Raises:
        BadParameter: the location means nothing.
        BackendUnavailable: the backend or the token can't be used.
    """
    with _store(base, wanted) as store:
        kept = store.generate(name, algorithm)
        files = {"certificate": f"ca/{name}.pem", "chain": [f"ca/{root_file}.pem"]}
        settings = {"backend": wanted.backend, **files, **kept.settings}
        if wanted.root == "offline":
            csr = _request(name, kept.key)
            write(base / f"ca/{name}.csr", csr, 0o644)
            yield TokenHierarchy(settings, None, None, csr)
            return
        key: CertificateIssuerPrivateKeyTypes | str = algorithm
        if wanted.root == "token":
            key = store.generate(f"{name}-root", algorithm).key
        root = authority.make_root(f"est-server {name} root", key, lifetime=20 * _YEAR, now=now)
        if wanted.root == "file":
            passphrase = secrets.token_urlsafe(32).encode()
            write(base / f"secrets/{root_file}.pass", passphrase + b"\n", 0o600)
            write(base / f"ca/{root_file}.key", authority.encrypt_key(root.key, passphrase), 0o600)
        title = f"est-server {name} CA"
        issuing = authority.make_issuing(root, title, kept.key, lifetime=10 * _YEAR, now=now)
        for file, certificate in ((name, issuing.certificate), (root_file, root.certificate)):
            write(base / f"ca/{file}.pem", certificate.public_bytes(Encoding.PEM), 0o644)
        yield TokenHierarchy(settings, root.certificate, issuing, None)


@contextmanager
def _store(base: Path, wanted: TokenWanted) -> Iterator[KeyStore]:
    try:
        backend = find_backend(wanted.backend, installed())
    except BackendUnusableError as error:
        raise BackendUnavailable("ca.backend", str(error), hint=error.hint) from error
    if not isinstance(backend, MakesKeys):
        raise typer.BadParameter(f"backend {wanted.backend} keeps no keys in tokens")
    try:
        opened = backend.key_store(wanted.location, wanted.pin, base)
    except ValueError as error:
        raise typer.BadParameter(f"{wanted.location!r}: {error}") from error
    with opened as store:
        yield store


def _request(name: str, key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """Return PKCS #10 in PEM that asks for what the issuing CA needs."""
    title = x509.NameAttribute(x509.NameOID.COMMON_NAME, f"est-server {name} CA")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([title]))
    for extension, critical in authority.ca_rights(path_length=0):
        builder = builder.add_extension(extension, critical=critical)
    request = builder.sign(key, authority.signature_hash(key))
    return request.public_bytes(Encoding.PEM)


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet.

    Raises:
        FileExistsError: it is.
    """
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(content)
