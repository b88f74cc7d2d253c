"""Faults in TLS, in who may enroll, and in what is issued."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from faults import fault
from faults_http import answers, before
from OpenSSL import SSL

from backends import local_template, soft
from est_server.app import listeners
from est_server.enrollment import asking, authenticate, channel_binding, service
from est_server.errors import Denied, Malformed, Unauthenticated
from est_server.pki.names import name_text
from est_server.profiles import decide, gates, renewal
from est_server.profiles.decision import Identity
from est_server.web import proxies, tls, tls_context
from est_server.web.errors import Answer
from est_server.wire import client_cert, est_body

CONTEXT = listeners.server_context
FACTS = tls.read_facts
BINDING = service.channel_binding
DECODE = service.decode_body
PARSE = service.parse_csr
EXTENSIONS = local_template._extensions
ISSUE = soft.SoftAuthority.issue
IDENTIFY = authenticate.Authenticator.identify


def context(patch: Any, change: Any) -> None:
    """Let `change(context)` change the TLS of the EST listener."""

    def made(*arguments, **options):
        found = CONTEXT(*arguments, **options)
        change(found)
        return found

    patch(listeners, "server_context", made)


@fault("old_versions")
def tls_1_1_is_spoken(patch):
    def change(found):
        found.set_min_proto_version(SSL.TLS1_VERSION)
        found.set_cipher_list(b"ALL:@SECLEVEL=0")

    context(patch, change)


@fault("every_operation_over_this_version")
def tls_1_3_is_off(patch):
    context(patch, lambda found: found.set_max_proto_version(SSL.TLS1_2_VERSION))


@fault("weak_suites")
def anonymous_suites_are_on(patch):
    context(patch, lambda found: found.set_cipher_list(b"ALL:COMPLEMENTOFALL:aNULL:@SECLEVEL=0"))


@fault("sessions_resume")
def sessions_never_resume(patch):
    def change(found):
        found.set_options(SSL.OP_NO_TICKET)
        found.set_timeout(0)

    patch(tls_context, "_SESSION_SECONDS", 0)
    context(patch, change)


@fault("no_client_certificate")
def a_client_certificate_is_demanded(patch):
    demand = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context(patch, lambda found: found.set_verify(demand, lambda *_: True))


@fault("renegotiation")
def renegotiation_is_on(patch):
    patch(tls_context.SSL, "OP_NO_RENEGOTIATION", 1 << 8)  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION


def facts(patch: Any, change: Any) -> None:
    """Let `change(connection, facts)` change what is known of a connection."""
    patch(tls, "read_facts", lambda one, rest: change(one, FACTS(one, rest)))


@fault("binding_of_a_resumed_session")
def tls_unique_is_always_the_clients(patch):
    def change(connection, found):
        return replace(found, tls_unique=found.tls_unique and connection.get_peer_finished())

    facts(patch, change)


@fault("tls_unique")
def tls_unique_is_the_servers(patch):
    def change(connection, found):
        return replace(found, tls_unique=found.tls_unique and connection.get_finished())

    facts(patch, change)


@fault("tls_unique_on_1_3")
def tls_unique_counts_on_1_3(patch):
    def change(connection, found):
        if found.version != "TLSv1.3":
            return found
        return replace(found, tls_unique=connection.get_peer_finished(), tls_exporter=None)

    facts(patch, change)


def bindings(patch: Any, change: Any) -> None:
    """Let `change(csr, tls, usual)` judge the channel binding."""
    patch(
        service, "channel_binding",
        lambda csr, tls, meaning: change(csr, tls, lambda: BINDING(csr, tls, meaning)),
    )  # fmt: skip


@fault("a_wrong_value", "a_prefix", "of_another_connection")
def every_binding_matches(patch):
    bindings(patch, lambda csr, tls, usual: "absent" if usual() == "absent" else "matched")


@fault("a_prefix")
def a_prefix_of_the_binding_matches(patch):
    class Lenient:
        @staticmethod
        def compare_digest(one, other):
            return one.startswith(other)

    patch(channel_binding, "hmac", Lenient)


@fault("every_string_type")
def only_printable_strings_are_read(patch):
    def change(csr, tls, usual):
        other = any(b"\x0c\x10" in value or b"\x0c\x2c" in value
                    for one in csr.attributes for value in one.values)  # fmt: skip
        return "mismatched" if other else usual()

    bindings(patch, change)


@fault("of_another_connection")
def any_connections_binding_matches(patch):
    seen = set()

    def change(connection, found):
        seen.add(found.tls_unique or found.tls_exporter)
        return found

    def judge(csr, tls, usual):
        from base64 import b64encode

        sent = csr.challenge_password or csr.est_identity_linking
        known = {b64encode(one).decode() for one in seen if one}
        return "matched" if sent in known else usual()

    facts(patch, change)
    bindings(patch, judge)
    # facts are read late otherwise, when the first request comes
    handshake = tls.TlsConnection.do_handshake

    def shake(self):
        if complete := handshake(self):
            self.facts()
        return complete

    patch(tls.TlsConnection, "do_handshake", shake)


@fault("none_sent")
def a_missing_binding_is_an_internal_error(patch):
    def change(csr, tls, usual):
        if usual() == "absent":
            raise ValueError("absent")
        return usual()

    bindings(patch, change)


@fault("none_sent_and_required", label="bound")
def a_missing_binding_is_refused_without_a_reason(patch):
    answers(patch, lambda one: Answer(one.status, "", one.headers))


@fault("a_client_cert_header_from_anybody")
def everybodys_client_cert_is_believed(patch):
    def believe(self, request, found):
        fields = request.headers.getall("Client-Cert", [])
        if not fields:
            return found
        return replace(found, client_chain=client_cert.read_client_chain(fields, []))

    patch(proxies.Proxies, "asker_facts", believe)


@fault("a_self_made_client_certificate")
def every_client_certificate_authenticates(patch):
    async def identify(self, profile, request):
        if request.tls.client_chain and request.operation == "simpleenroll":
            return Identity("anybody", "credential", detail="a certificate")
        return await IDENTIFY(self, profile, request)

    patch(authenticate.Authenticator, "identify", identify)


@fault("a_certificate_of_another_ca")
def the_name_in_a_certificate_is_enough(patch):
    issued = {}
    issue_and_record, usual = service.issue_and_record, authenticate.Authenticator._own_certificate

    async def remember(*arguments, **options):
        record = await issue_and_record(*arguments, **options)
        issued[record.subject] = record
        return record

    async def own(self, request):
        chain = request.tls.client_chain
        shown = x509.load_der_x509_certificate(chain[0]) if chain else None
        record = issued.get(name_text(shown.subject)) if shown else None
        if record is None:
            return await usual(self, request)
        return Identity(record.identity, "own-certificate", certificate=record)

    patch(service, "issue_and_record", remember)
    patch(authenticate.Authenticator, "_own_certificate", own)


@fault("a_wrong_password", "an_unknown_user")
def a_wrong_password_is_403(patch):
    async def credential(self, profile, username, password, peer):
        if await self.ledger.credential(username) is None:
            raise Unauthenticated("authentication.password", "unknown user")
        if password in {"x", "not the password"}:
            raise Denied("authentication.password", "wrong password")
        return await CREDENTIAL(self, profile, username, password, peer)

    patch(authenticate.Authenticator, "credential", credential)


CREDENTIAL = authenticate.Authenticator.credential


@fault("basic_unasked")
def basic_has_to_wait_for_its_challenge(patch):
    def look(request, line):
        if "Authorization" in request.headers:
            raise Unauthenticated("authentication.missing", "not yet")

    before(patch, look)


@fault("a_401_leaves_nothing")
def a_401_bans_the_request(patch):
    banned = set()

    async def identify(self, profile, request):
        if request.body in banned:
            raise Denied("banned", "you were here before")
        try:
            return await IDENTIFY(self, profile, request)
        except Unauthenticated:
            banned.add(request.body)
            raise

    patch(authenticate.Authenticator, "identify", identify)


def bodies(patch: Any, refused: Any) -> None:
    """Refuse a body for which `refused(body)` is true."""

    def decode(body, **options):
        if refused(body):
            raise Malformed("body.base64", "not decoded")
        return DECODE(body, **options)

    patch(service, "decode_body", decode)


@fault("lines_with_lf")
def line_feeds_are_not_read(patch):
    bodies(patch, lambda body: b"\n" in body.strip())


@fault("lines_with_crlf")
def carriage_returns_are_not_read(patch):
    bodies(patch, lambda body: b"\r" in body)


@fault("one_line")
def one_line_is_not_read(patch):
    bodies(patch, lambda body: b"\n" not in body)


@fault("spaces_and_tabs")
def spaces_are_not_read(patch):
    bodies(patch, lambda body: b"\t" in body and not body.startswith(b"-"))


def _internal(patch, module, name, usual, when):
    def call(value, *arguments, **options):
        if when(value):
            raise ValueError("what is this?")
        return usual(value, *arguments, **options)

    patch(module, name, call)


@fault("not_base64")
def rubbish_is_an_internal_error(patch):
    _internal(patch, service, "decode_body", DECODE, lambda body: b"!" in body)


@fault("not_a_request")
def no_request_is_an_internal_error(patch):
    _internal(patch, service, "parse_csr", PARSE, lambda der: len(der) < 50)


@fault("an_empty_body")
def an_empty_body_is_an_internal_error(patch):
    _internal(patch, service, "decode_body", DECODE, lambda body: not body.strip())


@fault("trailing_octets")
def trailing_octets_are_cut_off(patch):
    def decode(body, **options):
        der = est_body._base64(body.strip())
        count = der[1] & 0x7F  # octets of a long length
        size = 2 + count + int.from_bytes(der[2 : 2 + count], "big")
        return est_body.DecodedBody(der[:size], "base64")

    patch(service, "decode_body", decode)


@fault("a_bad_signature")
def the_csrs_signature_is_not_checked(patch):
    patch(service, "verify_signature", lambda csr: None)


@fault("weak_keys_and_hashes")
def every_key_is_strong(patch):
    patch(gates, "weakness", lambda key: None)
    patch(gates, "key_allowed", lambda allow, algorithm: True)


@fault("duplicate_extensions")
def duplicates_are_an_internal_error(patch):
    def parse(der):
        try:
            return PARSE(der)
        except Malformed as error:
            if "duplicate" in error.rule:
                raise ValueError(error) from error
            raise

    patch(service, "parse_csr", parse)


@fault("a_key_usage_without_signing")
def a_key_usage_without_signing_is_an_internal_error(patch):
    def extension_gate(profile, request):
        for one in request.csr.extensions:
            if isinstance(one.value, x509.KeyUsage) and not one.value.digital_signature:
                raise ValueError("no digitalSignature")
        return GATE(profile, request)

    patch(decide, "extension_gate", extension_gate)


GATE = decide.extension_gate


def unchecked(patch: Any) -> None:
    """Let a CA make what was not planned."""
    patch(asking, "check_issued", lambda *_, **__: None)


def extended(patch: Any, extensions: Any) -> None:
    """Let certificates have other extensions, and remember none of what was built for others."""

    async def issue(self, order):
        self._maker._template.cache_clear()
        try:
            return await ISSUE(self, order)
        finally:
            self._maker._template.cache_clear()

    patch(local_template, "_extensions", extensions)
    patch(soft.SoftAuthority, "issue", issue)


@fault("ca_rights_are_not_copied")
def ca_rights_are_copied(patch):
    ca = x509.BasicConstraints(ca=True, path_length=None)

    def extensions(issuer, rights):
        return [(ca, True) if isinstance(one, x509.BasicConstraints) else (one, critical)
                for one, critical in EXTENSIONS(issuer, rights)]  # fmt: skip

    unchecked(patch)
    extended(patch, extensions)


@fault("alternative_names_survive")
def alternative_names_are_dropped(patch):
    patch(decide, "build_alternative_names", lambda *_: ((), ()))


@fault("the_requests_key", "the_same_key", "a_new_key")
def the_certificate_is_for_another_key(patch):
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    issue = soft.SoftAuthority.issue

    async def other(self, order):
        return await issue(self, replace(order, plan=replace(order.plan, spki=spki)))

    unchecked(patch)
    patch(soft.SoftAuthority, "issue", other)


@fault("serial_numbers_are_random")
def serial_numbers_count_up(patch):
    numbers = itertools.count(0x4000_0000)

    class Counting:
        random_serial_number = staticmethod(lambda: next(numbers))

    patch(service, "x509", Counting)


@fault("within_the_issuers_life")
def certificates_outlive_their_issuer(patch):
    issue = soft.SoftAuthority.issue

    async def longer(self, order):
        end = self.certificates().issuer.not_valid_after_utc
        self._maker._end = end + timedelta(days=9)
        return await issue(
            self, replace(order, plan=replace(order.plan, not_after=end + timedelta(days=1)))
        )

    unchecked(patch)
    patch(soft.SoftAuthority, "issue", longer)


@fault("key_identifiers")
def the_authority_key_identifier_is_wrong(patch):
    def extensions(issuer, rights):
        wrong = x509.AuthorityKeyIdentifier(b"wrong", None, None)
        return [(wrong, False) if isinstance(one, x509.AuthorityKeyIdentifier) else (one, critical)
                for one, critical in EXTENSIONS(issuer, rights)]  # fmt: skip

    unchecked(patch)
    extended(patch, extensions)


@fault("the_same_request_again")
def every_request_is_a_new_one(patch):
    numbers = itertools.count()
    usual = service.idempotency_key

    def key(profile, facts):
        return usual(f"{profile}-{next(numbers)}", facts)

    patch(service, "idempotency_key", key)


@fault("retry_after", label="review")
def pending_does_not_say_when(patch):
    answers(patch, lambda one: Answer(one.status))


@fault("another_subject")
def every_subject_renews(patch):
    patch(renewal, "names_equal", lambda *_: True)


@fault("other_alternative_names", "alternative_names_left_out")
def alternative_names_are_not_compared(patch):
    patch(renewal, "general_names_equal", lambda *_: True)


@fault("other_string_types")
def subjects_are_compared_by_their_bytes(patch):
    patch(renewal, "names_equal", lambda one, other: one.public_bytes() == other.public_bytes())


@fault("alternative_names_in_another_order", label="names")
def the_order_of_names_counts(patch):
    patch(renewal, "general_names_equal", lambda one, other: tuple(one) == tuple(other))


@fault("not_offered")
def serverkeygen_is_an_internal_error(patch):
    def look(request, line):
        if request.path.endswith("serverkeygen"):
            return web.Response(status=500)
        return None

    before(patch, look)
