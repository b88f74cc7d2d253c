"""A: URIs and HTTP."""

from __future__ import annotations

import socket

from interop.conformance.asking import base64
from interop.conformance.case import Failed, case, require, skip
from interop.conformance.connection import ConnectionFailed
from interop.conformance.http import request
from interop.conformance.target import PKCS10, WELL_KNOWN, Target, basic, shown

_HEADER_BLOCK = 1024  # octets that strongSwan reads at once


@case(1, "RFC 7030 4.1.2", "should")
def cacerts_without_authentication(target: Target) -> None:
    """Cacerts is answered without authentication."""
    answer = target.get("cacerts")
    require(answer.status == 200, f"status {answer.status} in place of 200")


@case(2, "RFC 7030 3.2.2")
def cacerts_under_a_label(target: Target) -> None:
    """Cacerts is answered under a label."""
    label = _label(target)
    answer = target.send("GET", target.path("cacerts", label=label))
    require(answer.status == 200, f"status {answer.status} in place of 200")


@case(3, "RFC 7030 3.2.2")
def operations_with_and_without_label(target: Target) -> None:
    """Every operation is there with and without a label."""
    _label(target)
    for bare in (False, True):
        for operation, method in (("cacerts", "GET"), ("simpleenroll", "POST"),
                                  ("simplereenroll", "POST")):  # fmt: skip
            body = None if method == "GET" else b""
            fields = () if method == "GET" else (PKCS10,)
            path = target.path(operation, bare=bare)
            answer = target.send(method, path, fields, body)
            require(answer.status not in {404, 405, 501}, f"{path}: status {answer.status}")


@case(4, "RFC 7030 3.2.2", "interop")
def an_unknown_label(target: Target) -> None:
    """An unknown label is 404."""
    answer = target.send("GET", target.path("cacerts", label="no-such-label-here"))
    require(answer.status == 404, f"status {answer.status} in place of 404")


@case(6, "RFC 7030 3.2.2", "interop")
def two_segments(target: Target) -> None:
    """Two path segments before the operation are 404."""
    answer = target.send("GET", f"{WELL_KNOWN}/no-such/label/cacerts")
    require(answer.status == 404, f"status {answer.status} in place of 404")


@case(7, "RFC 7030 3.2.2", "interop")
def an_unknown_operation(target: Target) -> None:
    """An unknown operation is 404."""
    answer = target.get("nosuchoperation")
    require(answer.status == 404, f"status {answer.status} in place of 404")


@case(8, "RFC 7030 3.2.2", "interop")
def a_trailing_slash(target: Target) -> None:
    """A trailing slash redirects nowhere."""
    plain, slash = target.get("cacerts"), target.get("cacerts/")
    require(not 300 <= slash.status < 400, f"status {slash.status}: EST clients follow nothing")
    require(slash.status == plain.status, f"status {slash.status} in place of {plain.status}")


@case(9, "RFC 3986 2.4", "interop")
def a_percent_encoded_label(target: Target) -> None:
    """A percent-encoded label is the label."""
    label = _label(target)
    encoded = "".join(f"%{octet:02X}" for octet in label.encode())
    answer = target.send("GET", f"{WELL_KNOWN}/{encoded}/cacerts")
    require(answer.status == 200, f"status {answer.status} in place of 200")


@case(10, "RFC 3986 7.3", "interop")
def path_traversal(target: Target) -> None:
    """Path traversal, NUL and overlong labels are refused."""
    for label in ("..%2f", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b", "x" * 2000, "%ff"):
        answer = target.send("GET", f"{WELL_KNOWN}/{label}/cacerts")
        require(answer.status in {400, 404, 414}, f"label {label[:30]}: status {answer.status}")


@case(10, "RFC 9112 3", "interop")
def garbage_is_survived(target: Target) -> None:
    """What is not HTTP ends its connection and nothing else."""
    with target.connect() as connection:
        connection.send(b"\x00\xff garbage\r\n\r\n")
        try:
            status = connection.response().status
        except ConnectionFailed:
            status = 400
        require(status >= 400, f"status {status}")
    require(target.get("cacerts").status == 200, "the server does not answer any more")


@case(11, "RFC 9110 15.5.6")
def post_to_cacerts(target: Target) -> None:
    """POST to cacerts is 405 with Allow: GET."""
    answer = target.send("POST", target.path("cacerts"), (PKCS10,), b"")
    _method_not_allowed(answer, "GET")


@case(12, "RFC 9110 15.5.6")
def get_of_simpleenroll(target: Target) -> None:
    """GET to simpleenroll is 405 with Allow: POST."""
    _method_not_allowed(target.get("simpleenroll"), "POST")


@case(13, "RFC 9110 9.3.2", "should")
def head_of_cacerts(target: Target) -> None:
    """HEAD has GET's header fields and no body."""
    got = target.get("cacerts")
    with target.connect() as connection:
        answer = target.send("HEAD", target.path("cacerts"), on=connection)
        require(answer.status == 200, f"status {answer.status} in place of 200")
        for name in ("Content-Type", "Content-Length"):
            require(answer.get(name) == got.get(name), f"{name}: {answer.get(name)}")
        again = target.get("cacerts", on=connection)
        require(again.status == 200, "a body follows the answer to HEAD")


@case(14, "RFC 9112 6.3", "interop")
def every_200_has_a_length(target: Target) -> None:
    """Every 200 has a Content-Length and no chunks."""
    answers = {name: target.get(name) for name in ("cacerts", "csrattrs")}
    if target.options.user or target.options.identity:
        answers["simpleenroll"] = target.post(base64(target.csr()))
    for name, answer in answers.items():
        if answer.status == 200:
            require(not answer.chunked, f"{name}: the body comes in chunks")
            require(answer.get("Content-Length"), f"{name}: no Content-Length")


@case(15, "RFC 9112 2.1", "interop")
def a_small_header_block(target: Target) -> None:
    """The header block is small and comes in the first TLS record."""
    answer = target.get("cacerts")
    size = len(answer.head)
    require(size < _HEADER_BLOCK, f"the header block has {size} octets")
    require(answer.first >= size, f"the first record ends after {answer.first} of {size} octets")


@case(16, "RFC 7030 3.2", "interop")
def two_requests_on_one_connection(target: Target) -> None:
    """Two requests on one connection are served."""
    with target.connect() as connection:
        for _ in range(2):
            answer = target.get("cacerts", on=connection)
            require(answer.status == 200, f"status {answer.status}")


@case(17, "RFC 9112 9.6")
def connection_close(target: Target) -> None:
    """Connection: close is honoured."""
    with target.connect() as connection:
        answer = target.get("cacerts", ("Connection", "close"), on=connection)
        require(answer.status == 200, f"status {answer.status}")
        require(connection.closed(), "the connection stays open")


@case(18, "RFC 9112 2.2", "interop")
def stray_line_ends(target: Target) -> None:
    """Two octets CR LF after the body are harmless."""
    with target.connect_to_enroll() as connection:
        path, body = target.path("simpleenroll"), base64(target.csr())
        octets = request("POST", path, target.host, (*target.authorization, PKCS10), body)
        connection.send(octets + b"\r\n")
        target.require_issued(connection.response("POST"))
        try:
            answer = target.get("cacerts", on=connection)
        except ConnectionFailed:
            return  # closed after the answer: harmless too
        require(answer.status == 200, f"the next request: status {answer.status}")


@case(19, "RFC 9110 10.1.1")
def expect_continue(target: Target) -> None:
    """Expect: 100-continue is answered."""
    with target.connect_to_enroll() as connection:
        body = base64(target.csr())
        fields = (*target.authorization, PKCS10, ("Expect", "100-continue"))
        whole = request("POST", target.path("simpleenroll"), target.host, fields, body)
        connection.send(whole[: -len(body)])
        first = connection.receive()
        require(first.startswith(b"HTTP/1.1 100"), f"no 100: {shown(first)}")
        connection.send(body)
        target.require_issued(connection.response("POST"))


@case(20, "RFC 9112 7.1")
def a_chunked_request(target: Target) -> None:
    """A chunked request body is read."""
    target.require_issued(target.post(base64(target.csr()), chunked=True))


@case(21, "RFC 9110 15.5.14", "interop")
def an_announced_huge_body(target: Target) -> None:
    """A body beyond all measure is refused before it is read."""
    with target.connect_to_enroll() as connection:
        fields = (*target.authorization, PKCS10, ("Content-Length", "1000000000"))
        connection.send(request("POST", target.path("simpleenroll"), target.host, fields))
        try:
            answer = connection.response("POST")
        except ConnectionFailed as error:
            require("time" not in str(error), "the server waits for a gigabyte")
            return
        require(answer.status in {400, 413}, f"status {answer.status} in place of 413")


@case(21, "RFC 9110 15.5.14", "interop")
def a_chunked_huge_body(target: Target) -> None:
    """A chunked body beyond all measure is cut off."""
    chunk = b"4000\r\n" + b"A" * 0x4000 + b"\r\n"
    with target.connect_to_enroll() as connection:
        fields = (*target.authorization, PKCS10, ("Transfer-Encoding", "chunked"))
        connection.send(request("POST", target.path("simpleenroll"), target.host, fields))
        try:
            for _ in range(512):  # 8 MiB
                connection.send(chunk)
            connection.send(b"0\r\n\r\n")
            answer = connection.response("POST")
        except ConnectionFailed:
            return  # it stopped reading
        require(answer.status == 413, f"status {answer.status} in place of 413")


@case(22, "RFC 9110 15.5.9", "interop")
def a_slow_body(target: Target) -> None:
    """A body that does not arrive times out, and nobody else waits."""
    with target.connect_to_enroll() as connection:
        body = base64(target.csr())
        fields = (*target.authorization, PKCS10)
        whole = request("POST", target.path("simpleenroll"), target.host, fields, body)
        connection.send(whole[:-10])
        require(target.get("cacerts").status == 200, "another client is not served meanwhile")
        connection.seconds = target.options.patience
        try:
            answer = connection.response("POST")
        except ConnectionFailed as error:
            require("time" not in str(error), f"still open after {target.options.patience:g} s")
            return
        require(answer.status in {400, 408}, f"status {answer.status} in place of 408")


@case(23, "RFC 9112 6.1", "interop")
def an_unknown_transfer_encoding(target: Target) -> None:
    """Transfer-Encoding: base64 is refused, and the server lives."""
    body = base64(target.csr())
    fields = (*target.authorization, PKCS10, ("Transfer-Encoding", "base64"))
    with target.connect_to_enroll() as connection:
        connection.send(request("POST", target.path("simpleenroll"), target.host, fields) + body)
        try:
            status = connection.response("POST").status
        except ConnectionFailed as error:
            require("time" not in str(error), "no answer")
            status = 400
    require(status in {400, 411, 501}, f"status {status} in place of 400 or 501")
    require(target.get("cacerts").status == 200, "the server does not answer any more")


@case(24, "RFC 7030 3.2.1", "interop")
def no_redirects(target: Target) -> None:
    """Nothing redirects."""
    for method, operation in (("GET", "cacerts"), ("GET", "csrattrs"), ("POST", "simpleenroll"),
                              ("POST", "simplereenroll")):  # fmt: skip
        body = b"" if method == "POST" else None
        fields = (PKCS10,) if method == "POST" else ()
        answer = target.send(method, target.path(operation), fields, body)
        require(not 300 <= answer.status < 400, f"{operation}: status {answer.status}")


@case(25, "RFC 7030 3.3")
def plain_http(target: Target) -> None:
    """Plain HTTP gets no EST."""
    endpoint = target.options.endpoint
    octets = request("GET", target.path("cacerts"), target.host)
    received = b""
    try:
        with socket.create_connection((endpoint.host, endpoint.port), endpoint.seconds) as plain:
            plain.settimeout(endpoint.seconds)
            plain.sendall(octets)
            received = plain.recv(4096)
    except OSError:
        pass
    require(b" 200 " not in received[:20], "cacerts is served without TLS on the same port")


@case(26, "RFC 9110 11.6.1")
def malformed_authorization(target: Target) -> None:
    """Two or malformed Authorization fields are 401 with a challenge."""
    challenge = target.send("POST", target.path("simpleenroll"), (PKCS10,), base64(target.csr()))
    if challenge.status != 401:
        skip("the server does not offer HTTP authentication")
    two = (basic("nobody", "nothing"), basic("somebody", "nothing"))
    for fields in (two, (("Authorization", "Basic %%%"),), (("Authorization", "Basic"),)):
        answer = target.send(
            "POST", target.path("simpleenroll"), (*fields, PKCS10), base64(target.csr())
        )
        require(answer.status in {400, 401}, f"{fields}: status {answer.status}")
        if answer.status == 401:
            require(answer.get("WWW-Authenticate"), f"{fields}: 401 without a challenge")


def _label(target: Target) -> str:
    if target.options.label is None:
        skip("needs --label")
    return target.options.label


def _method_not_allowed(answer: object, allowed: str) -> None:
    status, allow = answer.status, answer.get("Allow")  # type: ignore[attr-defined]
    if status != 405:
        raise Failed(f"status {status} in place of 405")
    require(allow and allowed in allow, f"Allow: {allow} in place of {allowed}")
