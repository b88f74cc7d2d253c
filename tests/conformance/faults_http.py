"""Faults in URIs, HTTP and the distribution of CA certificates."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID
from faults import Patch, fault

from est_server.app import est as app_est
from est_server.enrollment import service
from est_server.errors import Malformed, NotFound, Unauthenticated
from est_server.web import est, est_request, http
from est_server.web.errors import Answer
from interop.conformance.asking import attribute, der

RESPOND = est.EstEndpoint._respond
PLAIN_RESPOND = est.respond
ROUTE = est.route
ENCODED = est._encoded
PAGES_OF = app_est.pages_of
CERTS_ONLY = est.certs_only
BINARY = "application/octet-stream"


def before(patch: Patch, look: Any) -> None:
    """Let `look(request, line)` answer first; None goes on as usual."""

    async def respond(self, request, line):
        found = look(request, line)
        return await RESPOND(self, request, line) if found is None else found

    patch(est.EstEndpoint, "_respond", respond)


def after(patch: Patch, change: Any) -> None:
    """Let `change(request, response)` change what would be answered."""

    async def respond(self, request, line):
        response = await RESPOND(self, request, line)
        return change(request, response) or response

    patch(est.EstEndpoint, "_respond", respond)


def answers(patch: Patch, change: Any) -> None:
    """Let `change(answer)` change every refusal."""
    patch(est, "respond", lambda answer: PLAIN_RESPOND(change(answer)))


def routes(patch: Patch, change: Any) -> None:
    """Let `change(path, usual)` say what a path means."""
    patch(est, "route", lambda path: change(path, lambda: ROUTE(path)))


def raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@fault("cacerts_without_authentication", "no_client_certificate")
def cacerts_wants_authentication(patch):
    def look(request, line):
        if request.path.endswith("cacerts"):
            line.operation = "cacerts"
            raise Unauthenticated("authentication.missing", "who are you?")

    before(patch, look)


@fault("cacerts_under_a_label")
def labels_are_unknown(patch):
    def look(path, usual):
        if "/est/interop/" in path:
            raise NotFound("label.unknown", "no labels here")
        return usual()

    routes(patch, look)


@fault("operations_with_and_without_label")
def a_label_is_needed(patch):
    def look(path, usual):
        label, operation = usual()
        if label is None:
            raise NotFound("label.unknown", "a label is needed")
        return label, operation

    routes(patch, look)


@fault("an_unknown_label")
def the_label_is_ignored(patch):
    routes(patch, lambda path, usual: (None, usual()[1]))


@fault("two_segments")
def segments_are_ignored(patch):
    routes(patch, lambda path, usual: ROUTE(f"/.well-known/est/{path.rpartition('/')[2]}"))


@fault("an_unknown_operation")
def an_unknown_operation_is_cacerts(patch):
    def look(path, usual):
        try:
            return usual()
        except NotFound as error:
            if error.rule == "label.unknown":
                raise
            return None, "cacerts"

    routes(patch, look)


@fault("a_trailing_slash")
def a_slash_redirects(patch):
    def look(request, line):
        if request.path.endswith("/"):
            return web.Response(status=301, headers={"Location": request.path.rstrip("/")})
        return None

    before(patch, look)


@fault("a_percent_encoded_label")
def labels_are_not_decoded(patch):
    patch(est_request, "unquote", lambda text, **_: text)


@fault("path_traversal")
def a_strange_path_is_an_internal_error(patch):
    def look(path, usual):
        if "%" in path:
            raise ValueError(path)
        return usual()

    routes(patch, look)


@fault("garbage_is_survived")
def garbage_is_fine(patch):
    patch(http._Connection, "handle_error", lambda self, request, *_, **__: web.Response())


@fault("post_to_cacerts", "get_of_simpleenroll")
def every_method_is_allowed(patch):
    patch(est, "require_method", lambda method, operation: None)


@fault("head_of_cacerts")
def head_is_not_allowed(patch):
    def look(method, operation):
        if method == "HEAD":
            raise http.MethodNotAllowed("GET")

    patch(est, "require_method", look)


@fault("every_200_has_a_length")
def answers_are_chunked(patch):
    def change(request, response):
        response.enable_chunked_encoding()

    after(patch, change)


@fault("a_small_header_block")
def headers_are_long(patch):
    after(patch, lambda request, response: response.headers.update({"X-Policy": "x" * 2000}))


@fault("two_requests_on_one_connection")
def every_answer_closes(patch):
    after(patch, lambda request, response: response.force_close())


@fault("connection_close")
def close_is_ignored(patch):
    def look(request, line):
        request._message = request._message._replace(should_close=False)

    before(patch, look)


@fault("stray_line_ends")
def what_follows_a_post_is_refused(patch):
    posted = set()

    def look(request, line):
        if id(request.transport) in posted and request.method == "GET":
            raise Malformed("http.malformed", "what is this?")
        if request.method == "POST":
            posted.add(id(request.transport))

    before(patch, look)


@fault("expect_continue")
def expect_is_not_answered(patch):
    read_body = http.read_body

    async def read(request, limits):
        if "Expect" in request.headers:
            raise Malformed("http.expect", "no")
        return await read_body(request, limits)

    patch(est, "read_body", read)


@fault("a_chunked_request")
def chunks_are_refused(patch):
    def look(request, line):
        if request.headers.get("Transfer-Encoding") == "chunked":
            return web.Response(status=411)
        return None

    before(patch, look)


@fault("an_announced_huge_body", "a_chunked_huge_body")
def bodies_have_no_limit(patch):
    async def read(request, limits):
        return await http.read_body(request, http.HttpLimits(1 << 40, 4, 30))

    patch(est, "read_body", read)
    decode = service.decode_body
    patch(service, "decode_body", lambda body, **_: decode(body, limit=1 << 40))


@fault("a_slow_body")
def slow_bodies_are_waited_for(patch):
    async def read(request, limits):
        return await http.read_body(request, http.HttpLimits(limits.body, 3600, 3600))

    patch(est, "read_body", read)


@fault("an_unknown_transfer_encoding")
def an_unknown_encoding_is_fine(patch):
    garbage_is_fine(patch)


@fault("no_redirects")
def posts_redirect(patch):
    def look(request, line):
        if request.method == "POST":
            return web.Response(status=307, headers={"Location": request.path})
        return None

    before(patch, look)


@fault("malformed_authorization")
def a_malformed_header_is_an_internal_error(patch):
    patch(est_request, "b64decode", raising(RuntimeError("what is this?")))


@fault("the_media_type")
def cacerts_has_another_type(patch):
    _type_of(patch, "cacerts", BINARY)


def _type_of(patch, operation, kind):
    def change(request, response):
        if operation in request.path and response.status == 200:
            response.headers["Content-Type"] = kind

    after(patch, change)


@fault("base64_of_a_certs_only_message")
def cacerts_is_raw_der(patch):
    patch(est, "encode_body", lambda der, **_: der)


@fault("lines_that_clients_read")
def lines_never_wrap(patch):
    patch(est, "wraps", lambda agent: False)


def cacerts(patch: Patch, change: Any) -> None:
    """Let `change(certificates)` change the DER that cacerts answers."""

    def pages(*parts):
        return {
            label: replace(page, cacerts=change(_certificates(page.cacerts)))
            for label, page in PAGES_OF(*parts).items()
        }

    patch(app_est, "pages_of", pages)


def _certificates(der):
    return pkcs7.load_der_pkcs7_certificates(der)


def _root(found):
    return next(one for one in found if one.issuer == one.subject)


def _made(name, *, ca=True, end=None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)  # noqa: TID251 - a real certificate
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now).not_valid_after(end or now + timedelta(days=10))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )  # fmt: skip
    return builder.sign(key, hashes.SHA256()), key


@fault("the_current_root", "one_newest_root")
def the_root_is_missing(patch):
    cacerts(patch, lambda found: CERTS_ONLY([one for one in found if one != _root(found)]))


@fault("nothing_but_ca_certificates")
def a_device_certificate_is_among_them(patch):
    cacerts(patch, lambda found: CERTS_ONLY([*found, _made("device", ca=False)[0]]))


@fault("nothing_but_ca_certificates")
def the_cacerts_are_signed(patch):
    def change(found):
        certificate, key = _made("signer")
        signer = pkcs7.PKCS7SignatureBuilder().set_data(b"x")
        signer = signer.add_signer(certificate, key, hashes.SHA256())
        for one in found:
            signer = signer.add_certificate(one)
        return signer.sign(Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature])

    cacerts(patch, change)


@fault("nothing_but_ca_certificates")
def a_crl_is_among_them(patch):
    def change(found):
        certificate, key = _made("issuer")
        now = datetime.now(UTC)  # noqa: TID251 - a real CRL
        crl = (
            x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
            .last_update(now).next_update(now + timedelta(days=1)).sign(key, hashes.SHA256())
        )  # fmt: skip
        info = cms.ContentInfo.load(CERTS_ONLY(found))
        encoded = crl.public_bytes(Encoding.DER)
        info["content"]["crls"] = cms.RevocationInfoChoices.load(
            b"\x31" + _length(encoded) + encoded
        )
        return info.dump(force=True)

    cacerts(patch, change)


def _length(octets):
    size = len(octets)
    return bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")


@fault("one_newest_root")
def two_roots_end_last(patch):
    def change(found):
        other, _ = _made("Another Root", end=_root(found).not_valid_after_utc)
        return CERTS_ONLY([*found, other])

    cacerts(patch, change)


@fault("everything_leads_to_the_newest_root")
def a_foreign_root_is_among_them(patch):
    cacerts(patch, lambda found: CERTS_ONLY([*found, _made("Foreign Root")[0]]))


@fault("the_same_bytes_every_time")
def cacerts_changes_every_time(patch):
    def change(request, response):
        if "cacerts" in request.path and response.status == 200:
            response.body = response.body + b"\n" * secrets.randbelow(1000)

    after(patch, change)


@fault("errors_are_plain_text", "not_base64")
def errors_are_json(patch):
    def change(answer):
        text = json.dumps({"err": answer.text})
        return Answer(answer.status, text, {**answer.headers, "Content-Type": "application/json"})

    answers(patch, change)


@fault("errors_are_plain_text")
def errors_show_the_inside(patch):
    answers(patch, lambda one: Answer(one.status, "Traceback (most recent call last)", one.headers))


@fault("not_base64", "not_a_request", "a_bad_signature", "an_empty_body", "errors_are_plain_text")
def errors_have_status_200(patch):
    answers(patch, lambda one: Answer(200, f"<html>{one.text}</html>"))


@fault("the_challenge", "a_wrong_password", "without_a_certificate")
def a_401_has_no_challenge(patch):
    answers(patch, lambda one: Answer(one.status, one.text))


@fault("no_scheme_to_offer", label="idevid")
def a_401_where_there_is_no_scheme(patch):
    answers(patch, lambda one: Answer(401 if one.status == 403 else one.status))


@fault("full_cmc_not_offered")
def fullcmc_is_an_internal_error(patch):
    def look(path, usual):
        if path.endswith("fullcmc"):
            raise ValueError(path)
        return usual()

    routes(patch, look)


@fault("base64_of_csrattrs")
def csrattrs_has_another_type(patch):
    _type_of(patch, "csrattrs", BINARY)


@fault("without_authentication")
def csrattrs_wants_authentication(patch):
    def look(request, line):
        if request.path.endswith("csrattrs"):
            line.operation = "csrattrs"
            raise Unauthenticated("authentication.missing", "who are you?")

    before(patch, look)


@fault("nothing_to_say", label="silent")
def an_absent_page_has_a_body(patch):
    def look(request, line):
        if "csrattrs" in request.path:
            return web.Response(status=404, text="there are no attributes")
        return None

    before(patch, look)


@fault("transfer_encoding_base64")
def base64_is_decoded_twice(patch):
    _without(patch, "base64")


@fault("transfer_encoding_binary")
def binary_is_taken_at_its_word(patch):
    _without(patch, "binary")


@fault("no_transfer_encoding")
def the_transfer_encoding_is_needed(patch):
    _without(patch, None)


@fault("transfer_encoding_quoted_printable")
def quoted_printable_is_decoded(patch):
    _without(patch, "quoted-printable")


def _without(patch, value):
    def look(request, line):
        if request.method == "POST" and request.headers.get("Content-Transfer-Encoding") == value:
            raise Malformed("body.base64", "not decoded")

    before(patch, look)


@fault("no_content_type", "another_content_type")
def the_content_type_is_ignored(patch):
    patch(web.BaseRequest, "content_type", "application/pkcs10")


@fault("the_content_type_in_other_case")
def the_content_type_is_compared_whole(patch):
    def look(request, line):
        if request.headers.get("Content-Type", "application/pkcs10") != "application/pkcs10":
            raise Malformed("body.media-type", "another type")

    before(patch, look)


@fault("pem")
def pem_is_answered_in_pem(patch):
    def change(body, response):
        return web.Response(body=b"-----BEGIN PKCS7-----") if b"BEGIN" in body else None

    _answer_by_body(patch, change)


@fault("raw_der")
def der_is_answered_in_der(patch):
    def change(body, response):
        return web.Response(body=b"\x30\x80") if body[:1] == b"\x30" else None

    _answer_by_body(patch, change)


def _answer_by_body(patch, change):
    bodies = {}

    async def read(request, limits):
        bodies[id(request)] = await http.read_body(request, limits)
        return bodies[id(request)]

    patch(est, "read_body", read)
    after(patch, lambda request, response: change(bodies.pop(id(request), b""), response))


@fault("exactly_one_certificate")
def the_chain_is_in_the_answer(patch):
    def change(found):
        other, _ = _made("Issuing")
        return CERTS_ONLY([*found, other])

    patch(est, "certs_only", change)


@fault("the_content_type_by_the_letter")
def the_parameter_is_quoted(patch):
    _type_of(patch, "enroll", 'application/pkcs7-mime; smime-type="certs-only"')


@fault("exactly_one_certificate")
def enroll_has_another_type(patch):
    _type_of(patch, "enroll", BINARY)


def csrattrs(patch: Patch, change: Any) -> None:
    """Let `change(items)` change the DER items of csrattrs."""

    def pages(*parts):
        return {
            label: page if page.csrattrs is None
            else replace(page, csrattrs=der(0x30, change(_content(page.csrattrs))))
            for label, page in PAGES_OF(*parts).items()
        }  # fmt: skip

    patch(app_est, "pages_of", pages)


def _content(der):
    size = 2 if der[1] < 128 else 2 + (der[1] & 0x7F)
    return der[size:]


@fault("one_extension_request")
def two_extension_requests(patch):
    csrattrs(patch, lambda items: items + 2 * attribute("1.2.840.113549.1.9.14", b"\x30\x00"))


@fault("one_key")
def two_keys_are_asked_for(patch):
    csrattrs(patch, lambda items: items + attribute("1.3.101.112") + attribute("1.3.101.113"))


@fault("the_template")
def two_templates(patch):
    value = b"\x30\x03\x02\x01\x00"
    csrattrs(patch, lambda items: items + attribute("1.2.840.113549.1.9.16.2.61", value) * 2)


@fault("within_what_libest_reads")
def csrattrs_is_long(patch):
    csrattrs(patch, lambda items: items + b"\x06\x03\x2a\x03\x04" * 200)


@fault("csrattrs_ask_for_it", label="bound")
def csrattrs_does_not_ask_for_a_binding(patch):
    csrattrs(patch, lambda items: b"")
