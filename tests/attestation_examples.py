"""One captured statement of each kind of evidence, and the page that shows them.

    python tests/attestation_examples.py

writes docs/attestation-examples.md. The octets are in tests/vectors: those of a TPM in tpm2, those
of a telephone in android-key, the others in attestation (capture_examples.py). Each is kept with
what its verifier has to know to believe it; a test does that with all of them.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import cbor2  # noqa: E402 - the path is set above
import readable  # noqa: E402
import tokens  # noqa: E402
from attestation_targets import certification, quote  # noqa: E402
from captured import NONCE, captured  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402
from signers import MADE  # noqa: E402

from est_server.attestation import chains  # noqa: E402
from est_server.attestation.android_key import AndroidKey  # noqa: E402
from est_server.attestation.android_policy import AndroidPolicy, AndroidSettings  # noqa: E402
from est_server.attestation.dice_policy import DicePolicy, DiceSettings  # noqa: E402
from est_server.attestation.dice_x509 import DiceX509  # noqa: E402
from est_server.attestation.eat import EatPolicy, EatSettings, EatToken  # noqa: E402
from est_server.attestation.reading import certificate, sha256  # noqa: E402
from est_server.attestation.signed_manifest import (  # noqa: E402
    ManifestPolicy,
    ManifestSettings,
    SignedManifest,
)
from est_server.attestation.tpm2_certify import CertifyPolicy, Tpm2Certify  # noqa: E402
from est_server.attestation.tpm2_quote import QuotePolicy, Tpm2Quote  # noqa: E402
from est_server.attestation.tpm_policy import CertifySettings, QuoteSettings  # noqa: E402
from est_server.attestation.x509_idevid import (  # noqa: E402
    IdevidPolicy,
    IdevidSettings,
    X509Idevid,
)
from est_server.pki.path import TrustStore  # noqa: E402
from est_server.ports.verifier import Evidence, VerificationContext  # noqa: E402
from est_server.wire import android_key, dice  # noqa: E402
from est_server.wire.eat import parse_statement  # noqa: E402
from est_server.wire.tpm_attest import TpmAttest, parse_attest  # noqa: E402
from est_server.wire.tpm_public import parse_public  # noqa: E402

PAGE = HERE.parent / "docs" / "attestation-examples.md"
FILE = HERE / "vectors" / "attestation" / "examples.json"
UEID = b"\x01" + bytes(range(32))


@dataclass(frozen=True, slots=True)
class Example:
    """A statement, and what is needed to believe it.

    Attributes:
        title: its heading.
        about: what made it.
        parts: what is shown beside the statement: a heading and lines for each.
    """

    title: str
    about: str
    verifier: Any
    evidence: Evidence
    context: VerificationContext
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()


def _context(settings: Any, policy: Any, spki: bytes, trust: x509.Certificate | None = None,
             **more: Any) -> VerificationContext:  # fmt: skip
    stores = {} if trust is None else {"maker": TrustStore("maker", (trust,))}
    found = VerificationContext(spki, NONCE, MADE, settings, policy, stores)
    return replace(found, **more)


# -- what no TPM made


def _made() -> list[Example]:
    """Return the examples of examples.json."""
    kept = json.loads(FILE.read_text())
    request, anchor = bytes.fromhex(kept["key"]), certificate(bytes.fromhex(kept["root"]))
    keys = {UEID.hex(): kept["pem"]}
    dice_policy = DicePolicy.model_validate(
        {"environments": [{"layer": 0, "svn": 7}, {"layer": 1, "fwids": ["01" * 32]}]}
    )
    device_policy = IdevidPolicy.model_validate(
        {"identity": "subject.commonName", "names": ["SN-1"], "vouches": "true"}
    )

    def example(name: str, title: str, about: str, verifier: Any, settings: Any, policy: Any,
                *parts: tuple[str, tuple[str, ...]]) -> Example:  # fmt: skip
        ders = tuple(bytes.fromhex(one) for one in kept["certificates"].get(name, ()))
        evidence = Evidence(settings.statement_type, _statement(kept, name), ders)
        where = _context(settings, policy, request, anchor)
        return Example(title, about, verifier, evidence, where, parts)

    last = bytes.fromhex(kept["certificates"]["dice-certified"][-1])
    return [
        example(
            "eat-cwt", "eat: a CWT", "An EAT (RFC 9711) in COSE_Sign1, with the request's key in"
            " `cnf`.", EatToken(), EatSettings(), EatPolicy(keys=keys),
            ("The token", (*readable.cbor(cbor2.loads(_token(kept, "eat-cwt"))),)),
            ("Its claims", (*readable.cbor(_claims(kept, "eat-cwt")),)),
        ),
        example(
            "psa", "eat: a PSA token", "The PSA profile (RFC 9783) has no claim for a key: the"
            " nonce stands beside the token, which has SHA-256 of it and of the request's key.",
            EatToken(), EatSettings(), EatPolicy(keys=keys),
            ("Its claims", (*readable.cbor(_claims(kept, "psa")),)),
        ),
        example(
            "eat-jwt", "eat: a JWT", "The same claims in a JWS.", EatToken(), EatSettings(),
            EatPolicy(keys=keys), ("The token", (*_jws(kept, "eat-jwt"),)),
        ),
        example(
            "manifest", "signed-manifest", "What a device says about its configuration, as a JWS.",
            SignedManifest(), ManifestSettings(), ManifestPolicy(keys=keys, declared="true"),
            ("The token", (*_jws(kept, "manifest"),)),
        ),
        example(
            "idevid", "x509-idevid", "The key of a manufacturer's certificate (IEEE 802.1AR) signs"
            " for the request's.", X509Idevid(), IdevidSettings(), device_policy,
        ),
        example(
            "dice-certified", "dice-x509: the last layer's key is the request's", "The nonce is in"
            " the last certificate. TcbInfo, MultiTcbInfo and TcbFreshness are TCG's.", DiceX509(),
            DiceSettings(), dice_policy,
            ("TcbInfo (2.23.133.5.4.1) of the last certificate",
             (*readable.der(_extension(last, dice.TCB_INFO)),)),
            ("TcbFreshness (2.23.133.5.4.11) of the last certificate",
             (*readable.der(_extension(last, dice.TCB_FRESHNESS)),)),
        ),
        example(
            "dice-signed", "dice-x509: the last layer's key signs for the request's", "The same"
            " certificates without TcbFreshness.", DiceX509(), DiceSettings(), dice_policy,
        ),
    ]  # fmt: skip


def _statement(kept: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(kept["statements"][name])


def _token(kept: dict[str, Any], name: str) -> bytes:
    signed = _statement(kept, name)
    if parse_statement(signed).nonce is None:
        return readable.content(signed)
    return next(readable.contents(signed))


def _claims(kept: dict[str, Any], name: str) -> Any:
    return cbor2.loads(cbor2.loads(_token(kept, name)).value[2])


def _jws(kept: dict[str, Any], name: str) -> Iterator[str]:
    """Yield header and payload as JSON, and the signature."""
    head, payload, signature = _token(kept, name).split(b".")
    for part in (head, payload):
        octets = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        yield from json.dumps(json.loads(octets), indent=2).splitlines()
    yield signature.decode()


def _extension(der: bytes, oid: str) -> bytes:
    (found,) = [
        one.value.public_bytes()
        for one in certificate(der).extensions
        if one.oid.dotted_string == oid
    ]
    return found


# -- what a TPM and a telephone made


def _tpm() -> list[Example]:
    """Return a certification and a quote of a software TPM."""
    said, maker = captured("ecdsa"), captured("manufacturer")
    ek = certificate(maker["ecc"])
    how: dict[str, Any] = {
        "now": ek.not_valid_before_utc.replace(microsecond=0),
        "kept": {"ak": said["public"].hex(), "ek": sha256(chains.spki(ek)).hex()},
    }
    anchor = certificate(maker["root"])
    pool, key = (maker["issuer"], maker["ecc"]), parse_public(said["key"]).spki
    made = "Made by swtpm 0.7.1; the formats inside are TCG's, the statement is that of the samples"
    kinds: tuple[tuple[Any, ...], ...] = (
        ("tpm2-certify", f"{made} of draft-ietf-lamps-csr-attestation.", Tpm2Certify(),
         CertifySettings(), CertifyPolicy(), certification(said), said["attest"]),
        ("tpm2-quote", f"{made} with the registers' values added.", Tpm2Quote(), QuoteSettings(),
         QuotePolicy(required=(7,)), quote(said), said["quote"]),
    )  # fmt: skip
    return [
        Example(
            title, about, verifier, Evidence(settings.statement_type, octets, pool),
            _context(settings, policy, key, anchor, **how),
            (("tpmSAttest", (*_fields(parse_attest(attest)),)),),
        )
        for title, about, verifier, settings, policy, octets, attest in kinds
    ]  # fmt: skip


def _android() -> Example:
    pem = (HERE / "vectors" / "android-key" / "chain.pem").read_bytes()
    chain = x509.load_pem_x509_certificates(pem)
    ders = [one.public_bytes(Encoding.DER) for one in chain]
    statement = tokens.der(4, sha256(ders[0]))
    value = _extension(ders[0], android_key.KEY_DESCRIPTION)
    return Example(
        "android-key",
        "A telephone of 2023 (tests/vectors/android-key); its challenge was `challenge`.",
        AndroidKey(),
        Evidence(AndroidSettings().statement_type, statement, tuple(ders[:-1])),
        _context(
            AndroidSettings(), AndroidPolicy(), chains.spki(chain[0]), chain[-1],
            nonce=b"challenge", now=datetime(2023, 3, 1, tzinfo=UTC),
        ),
        (("The key description in the certificate (1.3.6.1.4.1.11129.2.1.17)",
          (*readable.der(value),)),),
    )  # fmt: skip


def _fields(found: TpmAttest) -> Iterator[str]:
    """Yield what a TPMS_ATTEST says; its octets are in the statement."""
    yield f"type: {found.kind:#06x}"
    for name in found.__slots__:
        value = getattr(found, name)
        if name not in {"data", "kind"} and value not in {b"", ()}:
            yield f"{name}: {value.hex() if isinstance(value, bytes) else value}"


def examples() -> list[Example]:
    """Return all of them."""
    return [*_tpm(), *_made(), _android()]


# -- the page

_HEAD = """\
# Statements, octet by octet

One captured statement for each kind of evidence: the `stmt` of an AttestationStatement, as a tree,
and what is inside. The nonce is `00 01 02 … 1f` where nothing else is said. Certificates stand
beside the statement in the bundle. `python tests/attestation_examples.py` writes this page; a test
holds it to the octets in `tests/vectors`, and gives each to its verifier, which believes it.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for one in examples():
        parts.append(f"\n## {one.title}\n\n{one.about} Type: `{one.evidence.statement_type}`.\n")
        shown = (("The statement", (*readable.der(one.evidence.statement),)), *one.parts)
        for title, lines in shown:
            text = "\n".join(lines)
            parts.append(f"\n{title}:\n\n```\n{text}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
