"""A manufacturer's hierarchy with one thing wrong at a time, for us and for openssl."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from est_server.pki.usages import key_usage_extension

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CA_USAGE = ("keyCertSign", "cRLSign")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"), b"\x05\x00")


@cache
def key(name):
    """Return the key of this name: the same in every chain."""
    return ec.generate_private_key(ec.SECP256R1())


def subject(name):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def make(
    name,
    issuer=None,
    *,
    ca=False,
    path_length=None,
    usage=("digitalSignature",),
    purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    begin=NOW - 10 * DAY,
    end=NOW + 10 * DAY,
    extensions=(),
    holder=None,
    signer=None,
    named=None,
):
    """Return a certificate of `holder`'s key (or `name`'s) that `issuer` signed.

    Its authority key identifier is that of the key `named`, or of the one that signed.
    """
    above = name if issuer is None else issuer
    public = key(holder or name).public_key()
    builder = (
        x509.CertificateBuilder(subject(above), subject(name), public, x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                key(named or signer or above).public_key()
            ),
            critical=False,
        )
    )
    if usage:
        builder = builder.add_extension(key_usage_extension(usage), critical=True)
    if purposes and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key(signer or above), hashes.SHA256())


def authority(name, issuer=None, **fields):
    return make(name, issuer, ca=True, **({"usage": CA_USAGE} | fields))


def der(*certificates):
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def openssl_verify(folder, anchor, chain):
    """Return whether `openssl verify` takes a TLS client's chain, and its reason if not."""
    files = {"anchor": [anchor], "leaf": chain[:1], "above": chain[1:]}
    for name, certificates in files.items():
        pem = b"".join(found.public_bytes(Encoding.PEM) for found in certificates)
        (folder / f"{name}.pem").write_bytes(pem)
    untrusted = ("-untrusted", folder / "above.pem") if chain[1:] else ()
    done = subprocess.run(
        [
            *("openssl", "verify", "-purpose", "sslclient", "-no-CAstore", "-no-CApath"),
            *("-attime", str(int(NOW.timestamp())), "-CAfile", folder / "anchor.pem"),
            *(*untrusted, folder / "leaf.pem"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stderr
