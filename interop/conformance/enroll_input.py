"""D: what simpleenroll reads (RFC 7030 4.2.1, RFC 8951 3)."""

from __future__ import annotations

from cryptography import x509

from interop.conformance.asking import (
    alternative_names,
    base64,
    certification_request,
    extension,
    extension_request,
    new_key,
)
from interop.conformance.case import case, require, skip
from interop.conformance.cms import certificates_in
from interop.conformance.target import Target, alternative_names_of, decoded, shown

_PEM = b"-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n"


@case(53, "RFC 7030 4.2.1")
def lines_with_lf(target: Target) -> None:
    """Base64 in lines with LF is read."""
    target.require_issued(target.post(base64(target.csr())))


@case(54, "RFC 8951 3.1", "should")
def lines_with_crlf(target: Target) -> None:
    """Base64 in lines with CRLF is read."""
    target.require_issued(target.post(base64(target.csr(), 76, b"\r\n")))


@case(55, "RFC 8951 3.1", "should")
def one_line(target: Target) -> None:
    """Base64 on one line is read."""
    target.require_issued(target.post(base64(target.csr(), None)))


@case(56, "RFC 8951 3.1", "should")
def spaces_and_tabs(target: Target) -> None:
    """Base64 with spaces and tabs is read."""
    target.require_issued(target.post(base64(target.csr(), 30, b" \t\n ")))


def _with_encoding(target: Target, value: str | None) -> None:
    fields = () if value is None else (("Content-Transfer-Encoding", value),)
    target.require_issued(target.post(base64(target.csr()), *fields))


@case(57, "RFC 8951 3.1")
def transfer_encoding_base64(target: Target) -> None:
    """Content-Transfer-Encoding: base64 is ignored."""
    _with_encoding(target, "base64")


@case(58, "RFC 8951 3.1")
def transfer_encoding_binary(target: Target) -> None:
    """Content-Transfer-Encoding: binary is ignored."""
    _with_encoding(target, "binary")


@case(59, "RFC 8951 3.1")
def no_transfer_encoding(target: Target) -> None:
    """No Content-Transfer-Encoding is needed."""
    _with_encoding(target, None)


@case(60, "RFC 8951 3.1")
def transfer_encoding_quoted_printable(target: Target) -> None:
    """Content-Transfer-Encoding: quoted-printable is ignored."""
    _with_encoding(target, "quoted-printable")


@case(61, "RFC 8951 3.1", "interop")
def pem(target: Target) -> None:
    """PEM is read or refused, never answered in PEM."""
    answer = target.post(_PEM % base64(target.csr()))
    require(answer.status in {200, 202, 400}, f"status {answer.status}")
    require(b"-----BEGIN" not in answer.body, "the answer is PEM")
    if answer.status == 200:
        require(certificates_in(decoded(answer)), "there is no certificate in it")


@case(62, "RFC 8951 3.1", "interop")
def raw_der(target: Target) -> None:
    """Raw DER is read or refused, never answered in DER."""
    answer = target.post(target.csr())
    require(answer.status in {200, 202, 400}, f"status {answer.status}")
    if answer.status == 200:
        require(certificates_in(decoded(answer)), "there is no certificate in it")


def _refused(target: Target, body: bytes, *fields: tuple[str, str], status: int = 400) -> None:
    answer = target.post(body, *fields)
    require(answer.status == status, f"status {answer.status} in place of {status}")
    require(
        answer.media_type in {"", "text/plain"} or not answer.body,
        f"the reason is {answer.media_type}, not plain text",
    )


@case(63, "RFC 7030 4.2.3")
def not_base64(target: Target) -> None:
    """What is not base64 is 400 in plain text."""
    _refused(target, b"!!! this is not base64 !!!")
    _refused(target, base64(target.csr(), None).replace(b"M", b"-", 1))


@case(64, "RFC 7030 4.2.3")
def not_a_request(target: Target) -> None:
    """What is not a PKCS #10 request is 400."""
    _refused(target, base64(b"\x30\x03\x02\x01\x00"))
    _refused(target, base64(b"no request"))


@case(65, "RFC 2986 4")
def trailing_octets(target: Target) -> None:
    """Octets after the request are 400."""
    _refused(target, base64(target.csr() + b"\x00"))
    _refused(target, base64(target.csr() + target.csr()))


@case(66, "RFC 7030 4.2.1")
def a_bad_signature(target: Target) -> None:
    """A bad signature is 400: the key is not proven."""
    key, other = target.key(), target.key()
    _refused(target, base64(certification_request(key, target.subject(), signer=other)))


@case(67, "RFC 7030 4.2.3")
def an_empty_body(target: Target) -> None:
    """An empty body is 400."""
    _refused(target, b"")
    _refused(target, b"\r\n")


@case(68, "RFC 9110 15.5.16", "interop")
def no_content_type(target: Target) -> None:
    """No Content-Type is 415."""
    target.require_enrollment()
    answer = target.send(
        "POST",
        target.path("simpleenroll"),
        target.authorization,
        base64(target.csr()),
        identity=target.options.identity,
    )
    require(answer.status in {400, 415}, f"status {answer.status} in place of 415")


@case(69, "RFC 9110 15.5.16", "interop")
def another_content_type(target: Target) -> None:
    """Another Content-Type is 415."""
    answer = target.post(base64(target.csr()), ("Content-Type", "text/plain"))
    require(answer.status in {400, 415}, f"status {answer.status} in place of 415")


@case(70, "RFC 9110 8.3.1")
def the_content_type_in_other_case(target: Target) -> None:
    """The Content-Type is compared without case and parameters."""
    kind = ("Content-Type", "Application/PKCS10; charset=utf-8")
    target.require_issued(target.post(base64(target.csr()), kind))


@case(71, "RFC 7030 4.2.3", "interop")
def weak_keys_and_hashes(target: Target) -> None:
    """RSA with 1024 bits and signatures with SHA-1 are refused with a reason."""
    weak = new_key("rsa-1024")
    sha1 = certification_request(target.key(), target.subject(), algorithm="sha1")
    for csr in (certification_request(weak, target.subject()), sha1):
        answer = target.post(base64(csr))
        require(answer.status in {400, 403}, f"status {answer.status} in place of 400")
        require(answer.body.strip(), "no reason is given")


@case(72, "RFC 5280 4.2")
def duplicate_extensions(target: Target) -> None:
    """A duplicate extension request or extension is 400."""
    san = extension(x509.SubjectAlternativeName([x509.DNSName("one.example")]))
    again = extension(x509.SubjectAlternativeName([x509.DNSName("two.example")]))
    for attributes in (
        (extension_request(san), extension_request(again)),
        (extension_request(san, again),),
    ):
        answer = target.post(base64(target.csr(*attributes)))
        require(answer.status in {400, 403}, f"status {answer.status} in place of 400")


@case(73, "RFC 5280 4.2.1.9")
def ca_rights_are_not_copied(target: Target) -> None:
    """CA rights are refused or left out, never copied."""
    basic = extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    usage = extension(
        x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        ), critical=True,
    )  # fmt: skip
    answer = target.post(base64(target.csr(extension_request(basic, usage))))
    if answer.status in {400, 403}:
        return
    for found in target.require_issued(answer).extensions:
        if isinstance(found.value, x509.BasicConstraints):
            require(not found.value.ca, "the certificate is a CA's")
        if isinstance(found.value, x509.KeyUsage):
            sign = found.value.key_cert_sign or found.value.crl_sign
            require(not sign, "the certificate may sign certificates or CRLs")


@case(74, "RFC 7030 4.2.3", "interop")
def alternative_names_survive(target: Target) -> None:
    """An allowed alternative name arrives unchanged."""
    if target.options.dns is None:
        skip("needs --dns")
    name = x509.DNSName(target.options.dns)
    found = target.require_issued(target.post(base64(target.csr(alternative_names(name)))))
    names = alternative_names_of(found)
    require(name in names, f"the certificate has {names}")


@case(76, "RFC 7030 4.2.1", "interop")
def a_key_usage_without_signing(target: Target) -> None:
    """A request whose key usage lacks digitalSignature is no error by itself."""
    usage = extension(
        x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=True, key_cert_sign=False, crl_sign=False,
            encipher_only=False, decipher_only=False,
        ), critical=True,
    )  # fmt: skip
    answer = target.post(base64(target.csr(extension_request(usage))))
    require(answer.status in {200, 202, 400, 403}, f"status {answer.status}")
    if answer.status in {400, 403}:
        skip(f"the server's profile refuses the usage: {shown(answer.body)}")
