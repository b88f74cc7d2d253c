"""What `init` writes: keys, certificates, server.yaml, a profile and the ledger's schema."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import TypeAdapter, ValidationError

from est_server.app.clock import system_clock
from est_server.config.server import Address
from est_server.pki import authority
from est_server.pki.keys import KEY_ALGORITHMS, generate_key
from est_server.storage.schema import upgrade_schema

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_YEAR = timedelta(days=365)
_TLS_LIFETIME = timedelta(days=397)  # what clients that follow the CA/Browser Forum take
_PRIVATE = ("secrets", "state")
_FOLDERS = ("ca", "tls", "trust", "profiles", *_PRIVATE)

_SERVER_YAML = """\
# est-server. Paths start at this file's folder; secrets are named (file:, env:), never written.
# Check: est-server config check    Every key: est-server config schema server
version: 1

listeners:
  est:                             # where devices connect; HTTPS
    listen: "{est}"
    certificate: tls/server.pem
    key: file:tls/server.key
  public:                          # CA certificates for relying parties; plain HTTP
    listen: "{public}"
    url: "http://{name}:{port}"    # goes into certificates: devices and relying parties follow it
  admin:                           # /livez, /readyz, /metrics; keep it on loopback
    listen: "{admin}"
    certificate: tls/server.pem
    key: file:tls/server.key

cas:
  issuing:                         # profiles say "ca: issuing"
    backend: soft                  # keys on this disk: for a lab or a small fleet
    certificate: ca/issuing.pem
    key: file:ca/issuing.key
    passphrase: file:secrets/ca.pass
    chain: [ca/root.pem]

state:
  ledger: sqlite:///state/ledger.db    # what may never be lost: back it up
  ephemeral: "memory:"                 # what may be: counters

trust: {{}}                          # manufacturers' roots: name: trust/acme.pem
profiles: profiles                 # every *.yaml in there; its name is the file's
credentials:
  key: file:secrets/credentials.key
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked of `init`."""

    names: tuple[str, ...]
    est: str
    public: str
    admin: str
    key: str
    interop: bool

    @property
    def profile(self) -> str:
        """The profile that is written."""
        return "interop" if self.interop else "device"

    def check(self) -> None:
        """Refuse what can't be made before anything is.

        Raises:
            BadParameter: names the option.
        """
        if self.key not in KEY_ALGORITHMS:
            raise typer.BadParameter(f"known: {', '.join(KEY_ALGORITHMS)}", param_hint="--key")
        for option, address in (("est", self.est), ("public", self.public), ("admin", self.admin)):
            try:
                TypeAdapter(Address).validate_python(address)
            except ValidationError as error:
                text = "write an address like 0.0.0.0:8443 or [::1]:8443"
                raise typer.BadParameter(text, param_hint=f"--{option}") from error
        for name in self.names:
            if not name.isascii() or not name.isprintable() or set(name) & set(" /@\"'\\"):
                text = f"{name!r} is no DNS name and no address; write IDNs as xn--…"
                raise typer.BadParameter(text, param_hint="--dns")


def warnings_of(wanted: Wanted) -> list[tuple[str, str]]:
    """Return (code, message) of what an operator should know about the result."""
    found = [("soft-ca", "keys are on disk, encrypted with secrets/ca.pass; guard both")]
    if wanted.interop:
        text = "the interop profile gives any name to anybody with a credential; for tests only"
        found.append(("interop", text))
    if wanted.key.startswith("ML-DSA"):
        text = (
            f"the TLS certificate has an EC key and is signed with {wanted.key}: clients need a"
            " TLS library that knows it (OpenSSL 3.5), or put another certificate into tls/"
        )
        found.append(("post-quantum-tls", text))
    return found


def build(base: Path, wanted: Wanted) -> str:
    """Write everything into the folder `base` and return the root's fingerprint."""
    base.chmod(0o755)
    for folder in _FOLDERS:
        (base / folder).mkdir(mode=0o700 if folder in _PRIVATE else 0o755)
    now = system_clock()
    root = authority.make_root("est-server root", wanted.key, lifetime=20 * _YEAR, now=now)
    issuing = authority.make_issuing(
        root, "est-server issuing CA", wanted.key, lifetime=10 * _YEAR, now=now
    )
    tls_key = generate_key("EC-P256")
    tls = authority.make_server_certificate(
        issuing, wanted.names, tls_key.public_key(), lifetime=_TLS_LIFETIME, now=now
    )
    passphrase = secrets.token_urlsafe(32).encode()
    _write(base / "ca/root.pem", _pem(root.certificate), 0o644)
    _write(base / "ca/issuing.pem", _pem(issuing.certificate), 0o644)
    _write(base / "ca/root.key", authority.encrypt_key(root.key, passphrase))
    _write(base / "ca/issuing.key", authority.encrypt_key(issuing.key, passphrase))
    _write(base / "secrets/ca.pass", passphrase + b"\n")
    _write(base / "secrets/credentials.key", secrets.token_hex(32).encode() + b"\n")
    _write(base / "tls/server.pem", _pem(tls) + _pem(issuing.certificate), 0o644)
    _write(base / "tls/server.key", authority.plain_key(tls_key))
    name = wanted.names[0]
    text = _SERVER_YAML.format(
        est=wanted.est,
        public=wanted.public,
        admin=wanted.admin,
        name=f"[{name}]" if ":" in name else name,
        port=wanted.public.rpartition(":")[2],
    )
    _write(base / "server.yaml", text.encode(), 0o644)
    profile = f"{wanted.profile}.yaml"
    _write(base / "profiles" / profile, (_shipped_profiles() / profile).read_bytes(), 0o644)
    upgrade_schema(base / "state/ledger.db")
    return authority.fingerprint(root.certificate)


def _shipped_profiles() -> Path:
    """Return the folder of the example profiles, installed or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped_profiles"
    return installed if installed.is_dir() else package.parent / "profiles"


def _pem(certificate: Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(content)
