"""What `init` writes: keys, certificates, server.yaml, a profile and the ledger's schema."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import TypeAdapter, ValidationError

from est_server.app.clock import system_clock
from est_server.cli.audit_key import SECTION, make_audit_key
from est_server.cli.token_hierarchy import TokenWanted, made_in_token
from est_server.config.server import Address
from est_server.pki import authority
from est_server.pki.keys import KEY_ALGORITHMS, generate_key
from est_server.storage.schema import upgrade_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cryptography.x509 import Certificate

    from est_server.pki.authority import Authority

PLACEHOLDER = "est-server without a CA"
"""The issuer of the TLS certificate until there is a CA to make one."""

_YEAR = timedelta(days=365)
_TLS_LIFETIME = timedelta(days=397)  # what clients that follow the CA/Browser Forum take
_PRIVATE = ("keys", "secrets", "state")
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
{issuing}
state:
  ledger: sqlite:///state/ledger.db    # what may never be lost: back it up
  ephemeral: "memory:"                 # what may be: counters

trust: {{}}                          # manufacturers' roots: name: trust/acme.pem
profiles: profiles                 # every *.yaml in there; its name is the file's
credentials:
  key: file:secrets/credentials.key
{audit}"""

_SOFT = """\
    backend: soft                  # keys on this disk: for a lab or a small fleet
    certificate: ca/issuing.pem
    key: file:ca/issuing.key
    passphrase: file:secrets/ca.pass
    chain: [ca/root.pem]
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
    token: TokenWanted | None = None

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
    found = []
    if wanted.token is None:
        text = "keys are on disk, encrypted with secrets/ca.pass; guard both"
        found.append(("soft-ca", text))
    elif wanted.token.root == "file":
        text = "take ca/root.key and secrets/root.pass away: the server needs none"
        found.append(("root-on-disk", text))
    elif wanted.token.root == "offline":
        text = (
            "the TLS certificate is a placeholder and the CA has none: have ca/issuing.csr signed,"
            " then est-server ca install issuing CERTIFICATE ROOT"
        )
        found.append(("no-certificate", text))
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


def build(base: Path, wanted: Wanted) -> str | None:
    """Write everything into the folder `base` and return the root's fingerprint, if it has one."""
    base.chmod(0o755)
    for folder in _FOLDERS:
        (base / folder).mkdir(mode=0o700 if folder in _PRIVATE else 0o755)
    now = system_clock()
    tls_key = generate_key("EC-P256")
    with _made(base, wanted, now) as (root, issuing, section):
        # for a CA that has no certificate yet: the server's own word, until `ca install`
        issuer = issuing or authority.make_root(
            PLACEHOLDER, tls_key, lifetime=_TLS_LIFETIME, now=now
        )
        tls = authority.make_server_certificate(
            issuer, wanted.names, tls_key.public_key(), lifetime=_TLS_LIFETIME, now=now
        )
    _write(base / "secrets/credentials.key", secrets.token_hex(32).encode() + b"\n")
    chain = b"" if issuing is None else _pem(issuing.certificate)
    make_audit_key(base)
    _write(base / "tls/server.pem", _pem(tls) + chain, 0o644)
    _write(base / "tls/server.key", authority.plain_key(tls_key))
    name = wanted.names[0]
    text = _SERVER_YAML.format(
        est=wanted.est,
        public=wanted.public,
        admin=wanted.admin,
        name=f"[{name}]" if ":" in name else name,
        port=wanted.public.rpartition(":")[2],
        issuing=section,
        audit=SECTION.format(origin=f"{name}/audit"),
    )
    _write(base / "server.yaml", text.encode(), 0o644)
    profile = f"{wanted.profile}.yaml"
    _write(base / "profiles" / profile, (_shipped_profiles() / profile).read_bytes(), 0o644)
    upgrade_schema(base / "state/ledger.db")
    return None if root is None else authority.fingerprint(root)


@contextmanager
def _made(
    base: Path, wanted: Wanted, now: datetime
) -> Iterator[tuple[Certificate | None, Authority | None, str]]:
    """Make root and issuing CA; yield both, as far as there are, and the section of server.yaml."""
    if wanted.token is not None:
        with made_in_token(base, wanted.token, wanted.key, "issuing", now, "root") as made:
            yield made.root, made.issuing, made.yaml(" " * 4)
        return
    root = authority.make_root("est-server root", wanted.key, lifetime=20 * _YEAR, now=now)
    issuing = authority.make_issuing(
        root, "est-server issuing CA", wanted.key, lifetime=10 * _YEAR, now=now
    )
    passphrase = secrets.token_urlsafe(32).encode()
    _write(base / "ca/root.pem", _pem(root.certificate), 0o644)
    _write(base / "ca/issuing.pem", _pem(issuing.certificate), 0o644)
    _write(base / "ca/root.key", authority.encrypt_key(root.key, passphrase))
    _write(base / "ca/issuing.key", authority.encrypt_key(issuing.key, passphrase))
    _write(base / "secrets/ca.pass", passphrase + b"\n")
    yield root.certificate, issuing, _SOFT


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
