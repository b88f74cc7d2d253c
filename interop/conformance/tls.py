"""B: TLS."""

from __future__ import annotations

from base64 import b64encode

from cryptography.hazmat.primitives.serialization import Encoding

from interop.conformance import hello
from interop.conformance.asking import (
    base64,
    certification_request,
    challenge,
    self_signed_certificate,
)
from interop.conformance.case import case, require, skip
from interop.conformance.connection import ConnectionFailed
from interop.conformance.target import PKCS10, Target


@case(27, "RFC 8996 5")
def old_versions(target: Target) -> None:
    """TLS 1.0 and 1.1 end the handshake."""
    for version in (hello.TLS_1_0, hello.TLS_1_1):
        found = _negotiated(target, version, hello.ORDINARY)
        require(found is None, f"the server speaks version {found or 0:#06x}")


@case(28, "RFC 7030 3.3")
def every_operation_over_this_version(target: Target) -> None:
    """This TLS version serves every operation."""
    answer = target.get("cacerts")
    require(answer.status == 200, f"cacerts: status {answer.status}")
    answer = target.get("csrattrs")
    require(answer.status in {200, 204, 404}, f"csrattrs: status {answer.status}")
    if target.options.user or target.options.identity:
        target.require_issued(target.post(base64(target.csr())))


@case(29, "RFC 7030 3.3")
def weak_suites(target: Target) -> None:
    """NULL, anonymous and export suites are not negotiated."""
    for name in ("NULL", "ANONYMOUS", "EXPORT"):
        found = _negotiated(target, hello.TLS_1_2, getattr(hello, name))
        require(found is None, f"an {name} suite is negotiated")


@case(30, "RFC 7030 3.3", "should")
def sessions_resume(target: Target) -> None:
    """Sessions resume."""
    with target.connect() as first:
        target.get("cacerts", on=first)
        session = first.session
    with target.connect(session=session) as second:
        require(target.get("cacerts", on=second).status == 200, "the resumed session fails")
        require(second.resumed, "the second handshake is a full one")


@case(30, "RFC 5929 3.1")
def binding_of_a_resumed_session(target: Target) -> None:
    """The channel binding is right on a resumed session."""
    with target.connect_to_enroll() as first:
        target.get("cacerts", on=first)
        session = first.session
        body = base64(target.csr(challenge(first.binding)))
        if target.post(body, on=first).status != 200:
            skip("the server takes no channel binding on this TLS version")
    with target.connect_to_enroll(session) as second:
        if not second.resumed:
            skip("sessions do not resume")
        target.require_issued(target.post(base64(target.csr(challenge(second.binding))), on=second))
    with target.connect_to_enroll(session) as third:
        if third.version == "1.2" and third.resumed:
            # the client's own Finished is the second one here
            other = third._tls.get_finished() or b""  # noqa: SLF001
            csr = target.csr(challenge(b64encode(other).decode()))
            answer = target.post(base64(csr), on=third)
            require(answer.status >= 400, "the second Finished is taken for tls-unique")


@case(31, "RFC 7030 3.3.2")
def no_client_certificate(target: Target) -> None:
    """A client without a certificate completes the handshake."""
    require(target.get("cacerts").status == 200, "cacerts fails without a client certificate")


@case(38, "RFC 5280 4.2.1.12")
def a_self_made_client_certificate(target: Target) -> None:
    """A certificate of nobody's does not authenticate, and gets an answer."""
    key = target.key()
    identity = target.keep(self_signed_certificate(key, target.subject()), key)
    body = base64(certification_request(target.key(), target.subject()))
    try:
        answer = target.send(
            "POST", target.path("simpleenroll"), (PKCS10,), body, identity=identity
        )
    except ConnectionFailed:
        return  # refused by the handshake
    require(answer.status in {400, 401, 403}, f"status {answer.status}")


@case(40, "RFC 7030 3.3", "interop")
def renegotiation(target: Target) -> None:
    """Renegotiation is refused."""
    if target.version != "1.2":
        skip("TLS 1.3 has none")
    with target.connect() as connection:
        try:
            done = connection.renegotiate()
        except ConnectionFailed:
            return
        require(not done, "the server renegotiates at the client's wish")


@case(42, "RFC 9440 3.1")
def a_client_cert_header_from_anybody(target: Target) -> None:
    """A Client-Cert field from anybody is ignored."""
    own = target.enrolled()
    octets = own.certificate.public_bytes(Encoding.DER)
    field = ("Client-Cert", f":{b64encode(octets).decode()}:")
    path = target.path("simplereenroll")
    body = base64(target.renewal(target.key()))
    if target.send("POST", path, (PKCS10,), body, identity=own.identity).status != 200:
        skip("the server does not renew now")
    body = base64(target.renewal(target.key()))
    answer = target.send("POST", path, (PKCS10, field), body)
    require(answer.status in {400, 401, 403}, f"status {answer.status}: the field is believed")


def _negotiated(target: Target, version: int, suites: tuple[int, ...]) -> int | None:
    endpoint = target.options.endpoint
    octets = hello.client_hello(version, suites)
    try:
        return hello.negotiated(endpoint.host, endpoint.port, octets, endpoint.seconds)
    except OSError as error:
        raise ConnectionFailed(f"no answer to a ClientHello: {error}") from error
