"""C: the distribution of CA certificates (RFC 7030 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from interop.conformance.case import case, require
from interop.conformance.cms import SignedData, path_to_root, read_signed_data, self_signed
from interop.conformance.target import Target, decoded

if TYPE_CHECKING:
    from interop.conformance.http import Response

_LONGEST_LINE = 1024  # of base64 that libest reads through OpenSSL


@case(43, "RFC 7030 4.1.3")
def the_media_type(target: Target) -> None:
    """The media type is application/pkcs7-mime."""
    answer = _cacerts(target)
    require(answer.media_type == "application/pkcs7-mime", f"Content-Type: {answer.media_type}")


@case(44, "RFC 8951 3")
def base64_of_a_certs_only_message(target: Target) -> None:
    """The body is base64 of one certs-only SignedData."""
    require(_signed(target).certificates, "there is no certificate in it")


@case(44, "RFC 7030 4.1.3", "interop")
def lines_that_clients_read(target: Target) -> None:
    """A client that reads short lines only gets short lines."""
    answer = target.get("cacerts", ("User-Agent", "libest 3.2.0p"))
    longest = max(map(len, answer.body.split(b"\n")), default=0)
    require(longest < _LONGEST_LINE, f"a line has {longest} characters")
    require(answer.body.endswith(b"\n"), "the last line does not end")


@case(45, "RFC 7030 4.1.3")
def the_current_root(target: Target) -> None:
    """The current root and every CA between are there."""
    found = _signed(target).certificates
    require(any(map(self_signed, found)), "there is no self-signed certificate in it")
    for certificate in found:
        subject = certificate.subject.rfc4514_string()
        require(path_to_root(certificate, found) is not None, f"{subject}: no path to a root")
    if target.options.user or target.options.identity:
        own = target.enrolled().certificate
        require(path_to_root(own, found) is not None, "an issued certificate has no path in it")


@case(46, "RFC 7030 4.1.3")
def nothing_but_ca_certificates(target: Target) -> None:
    """No device certificate, no CRL, no signer, no content."""
    signed = _signed(target)
    require(not signed.signers, f"{signed.signers} signerInfos")
    require(not signed.crls, f"{signed.crls} revocation lists")
    require(not signed.others, f"{signed.others} certificates of other kinds")
    require(not signed.content, "something is signed in it")
    for certificate in signed.certificates:
        subject = certificate.subject.rfc4514_string()
        require(_is_ca(certificate), f"{subject} is not a CA's certificate")


@case(48, "RFC 7030 4.1.3")
def one_newest_root(target: Target) -> None:
    """One self-signed certificate is the newest: the current root."""
    roots = [found for found in _signed(target).certificates if self_signed(found)]
    require(roots, "there is no self-signed certificate in it")
    ends = sorted(found.not_valid_after_utc for found in roots)
    require(len(ends) == 1 or ends[-1] > ends[-2], "two roots end last")


@case(49, "RFC 7030 4.1.3")
def everything_leads_to_the_newest_root(target: Target) -> None:
    """Every certificate validates to the newest root."""
    found = _signed(target).certificates
    roots = [one for one in found if self_signed(one)]
    require(roots, "there is no self-signed certificate in it")
    newest = max(roots, key=lambda one: one.not_valid_after_utc)
    cross = [one for one in found if one.subject != one.issuer or not self_signed(one)]
    for certificate in found:
        if certificate == newest:
            continue
        others = tuple(one for one in (*cross, newest) if one != certificate)
        path = path_to_root(_without_its_own_signature(certificate, others), others)
        subject = certificate.subject.rfc4514_string()
        require(path and path[-1] == newest, f"{subject} does not lead to the newest root")


@case(51, "RFC 7030 4.1.3", "interop")
def the_same_bytes_every_time(target: Target) -> None:
    """The bytes are the same every time."""
    first, second = _cacerts(target), _cacerts(target)
    require(first.body == second.body, "two answers differ")


def _without_its_own_signature(
    certificate: x509.Certificate, others: tuple[x509.Certificate, ...]
) -> x509.Certificate:
    """Return, for an old root, the certificate of its key that another root signed."""
    if not self_signed(certificate):
        return certificate
    return next(
        (
            one
            for one in others
            if one.public_key() == certificate.public_key() and not self_signed(one)
        ),
        certificate,
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    if certificate.version == x509.Version.v1:
        return self_signed(certificate)
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _cacerts(target: Target) -> Response:
    answer = target.get("cacerts")
    require(answer.status == 200, f"status {answer.status} in place of 200")
    return answer


def _signed(target: Target) -> SignedData:
    return read_signed_data(decoded(_cacerts(target)))
