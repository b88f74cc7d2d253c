"""Files of certificates: trust stores, and what listeners present."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.errors import Position, Problem
from est_server.pki.path import TrustStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGEST = 4 << 20
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----.*?-----END \1-----", re.DOTALL)
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_DER_HINT = "openssl x509 -inform DER -in IN -out OUT.pem"


def read_file(path: Path) -> bytes:
    """Return a file's octets.

    Raises:
        OSError: it can't be read, or it is too large to be what it should be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except ValueError as error:  # a NUL in the path
        raise OSError(22, str(error)) from error
    if len(data) > LARGEST:
        raise OSError(27, f"larger than {LARGEST >> 20} MiB")
    return data


def read_certificates(
    data: bytes, file: str
) -> tuple[list[tuple[Position, x509.Certificate]], list[Problem]]:
    """Read the certificates of a PEM file (RFC 7468); text around them is explanation.

    Args:
        data: the file's octets.
        file: how messages call it.

    Returns:
        Certificates with their positions, and what is wrong; both may be empty-handed, never
        both empty.
    """
    text = data.decode("ascii", "replace")
    found: list[tuple[Position, x509.Certificate]] = []
    problems: list[Problem] = []
    line, counted, end = 1, 0, 0
    for begin in _BEGIN.finditer(text):
        start = begin.start()
        line += text.count("\n", counted, start)
        counted = start
        if start < end:
            continue
        at = Position(file, line, 1)
        block = _BLOCK.match(text, start)
        if block is None:
            message = f"-----END {begin[1]}----- is missing"
            problems.append(Problem(at, "E211", message))
            break
        end = block.end()
        try:
            found.append((at, _certificate(begin[1], block[0])))
        except ValueError as error:
            problems.append(Problem(at, "E211", str(error)))
    if not found and not problems:
        hint = _DER_HINT if data[:1] == b"\x30" else None
        message = "there is no PEM certificate in this file"
        problems.append(Problem(Position(file, 1, 1), "E211", message, hint))
    return found, problems


def _certificate(label: str, block: str) -> x509.Certificate:
    if label != "CERTIFICATE":
        raise ValueError(f"this is a {label}, certificates are expected")
    try:
        certificate = x509.load_pem_x509_certificate(block.encode())
        certificate.public_key()
        _ = certificate.extensions
    except Exception as error:
        # ValueError as a rule; unknown key types and versions have exceptions of their own
        said = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"this is no certificate: {said}") from error
    return certificate


def read_trust_store(name: str, data: bytes, file: str) -> tuple[TrustStore | None, list[Problem]]:
    """Read the CAs that one name in server.yaml stands for.

    What stands at the top is an anchor: the self-signed, and a CA whose issuer is not in the file,
    since the operator put it there to be trusted. The rest completes chains.

    Args:
        name: the store's name.
        data: the PEM file.
        file: how messages call it.
    """
    found, problems = read_certificates(data, file)
    for at, certificate in found:
        if not _is_ca(certificate):
            subject = certificate.subject.rfc4514_string()
            message = f"{subject!r} is not a CA's certificate (RFC 5280 4.2.1.9)"
            hint = "a trust store holds the CAs that sign devices, not the devices"
            problems.append(Problem(at, "E211", message, hint))
    if problems:
        return None, problems
    certificates = [certificate for _, certificate in found]
    anchors = tuple(one for one in certificates if _is_top(one, certificates))
    rest = tuple(one for one in certificates if one not in anchors)
    return TrustStore(name, anchors, rest), []


def _is_top(certificate: x509.Certificate, certificates: Sequence[x509.Certificate]) -> bool:
    if certificate.issuer == certificate.subject:
        return True
    return not any(other.subject == certificate.issuer for other in certificates)


def _is_ca(certificate: x509.Certificate) -> bool:
    if certificate.version == x509.Version.v1:
        return certificate.issuer == certificate.subject  # old roots have no extensions at all
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return basic.value.ca
