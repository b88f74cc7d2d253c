"""Faults that the kit can't see from outside, or that need a world of their own.

Beside each stand the file and the cases whose tests must turn red; `mutate.py` runs them.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

from faults import fault, mutation
from faults_http import answers

from est_server.config import checks, configuration
from est_server.enrollment import authenticate, key_delivery, key_generation, review, service
from est_server.pki import path
from est_server.pki.path import PathValidator, ValidatedPath
from est_server.profiles import (
    csr_attributes,
    decide,
    enrolling,
    gates,
    renewal,
)
from est_server.profiles.decision import Gate
from est_server.storage import revocation, writes
from est_server.web import admin, est, serverkeygen
from est_server.web.audit_line import AuditLine
from est_server.web.errors import Answer
from est_server.web.proxies import Proxies

CONNECTIONS = "test_connections.py"
AUTHENTICATION = "test_authentication.py"
OPERATIONS = "test_operations.py"
CACERTS = "test_cacerts.py"
REENROLL = "test_reenroll.py"
PENDING = "test_pending.py"
KEYGEN = "test_serverkeygen.py"
POSSESSION = "test_proof_of_possession.py"
CSRATTRS = "test_csrattrs.py"
OK = Gate("ok", ok=True, detail="broken")


def _returning(value: Any) -> Any:
    return lambda *_, **__: value


def _async_returning(value: Any) -> Any:
    async def call(*_: Any, **__: Any) -> Any:
        return value

    return call


# -- who asks


@mutation(CONNECTIONS, 32, 33)
def anchors_are_not_recorded(patch):
    usual = authenticate.Identity
    patch(authenticate, "Identity", lambda *a, **k: usual(*a, **{**k, "anchors": None}))


@mutation(CONNECTIONS, 34)
def implicit_anchors_are_always_fine(patch):
    patch(decide, "anchors_gate", _returning([]))


@mutation(CONNECTIONS, 35, 36, 38, 39)
def certificates_are_not_validated(patch):
    from cryptography import x509

    async def validate(self, chain, at):
        leaf = x509.load_der_x509_certificate(chain[0])
        return ValidatedPath(leaf, leaf)

    patch(PathValidator, "validate", validate)


@mutation(CONNECTIONS, 36)
def expired_certificates_are_fine(patch):
    usual = PathValidator.validate

    async def validate(self, chain, at):
        return await usual(self, chain, at - timedelta(days=5))

    patch(PathValidator, "validate", validate)


@mutation(CONNECTIONS, 38, 39)
def purposes_are_not_looked_at(patch):
    patch(path, "_check_leaf", _returning(None))


@mutation(CONNECTIONS, 42)
def a_proxys_word_is_not_read(patch):
    patch(Proxies, "asker_facts", lambda self, request, facts: facts)


@mutation(CONNECTIONS, 101)
def a_proxied_connection_keeps_its_binding(patch):
    patch(configuration, "check_connections", _returning([]))


@mutation(AUTHENTICATION, 37)
@mutation(REENROLL, 128)
def a_revoked_certificate_renews(patch):
    patch(renewal, "_status_gate", _returning(OK))
    patch(writes, "_refuse_revoked", _returning(None))


@mutation(AUTHENTICATION, 75)
def compromised_keys_come_back(patch):
    async def blocked(self, spki):
        return False

    patch(revocation.SqlRevocations, "key_blocked", blocked)
    patch(writes, "_refuse_revoked", _returning(None))


@mutation(AUTHENTICATION, 79)
def failed_passwords_are_not_counted(patch):
    from est_server.storage.memory import MemoryEphemeral

    patch(MemoryEphemeral, "spend", _async_returning(0))


@mutation(AUTHENTICATION, 80)
def empty_credentials_are_an_internal_error(patch):
    def read(headers):
        found = BASIC(headers)
        if found is None and headers:
            raise ValueError("empty")
        return found

    patch(est, "basic_credentials", read)


BASIC = est.basic_credentials


@mutation(AUTHENTICATION, 82)
def a_certificate_alone_is_enough(patch):
    async def beside(self, profile, request, identity):
        return identity

    patch(authenticate.Authenticator, "_credential_beside", beside)


@mutation(AUTHENTICATION, 83)
def every_device_is_welcome(patch):
    patch(decide, "device_gate", _returning(OK))


@mutation(AUTHENTICATION, 85, 86)
def the_subject_is_as_requested(patch):
    patch(decide, "build_subject", lambda profile, request, device: (request.csr.subject, []))


@mutation(REENROLL, 87)
def who_has_one_gets_another(patch):
    patch(enrolling, "again_gate", _returning([]))
    patch(decide, "again_gate", _returning([]))


@mutation(REENROLL, 88)
def an_own_certificate_enrolls(patch):
    patch(gates, "own_certificate_gate", _returning(OK))


@mutation(REENROLL, 89, 123)
def change_subject_name_is_not_read(patch):
    patch(service, "change_subject_name", _returning(None))


# -- possession


@mutation(POSSESSION, 99)
def everybody_is_a_registrar(patch):
    patch(authenticate.Authenticator, "is_registrar", _async_returning(True))


@mutation(POSSESSION, 102)
def the_challenge_password_comes_first(patch):
    usual = service.channel_binding

    def judge(csr, tls, meaning):
        linking = csr.challenge_password or csr.est_identity_linking
        return usual(replace(csr, est_identity_linking=linking), tls, meaning)

    patch(service, "channel_binding", judge)


# -- csrattrs


@mutation(CSRATTRS, 136)
def the_hash_is_not_listed(patch):
    usual = csr_attributes._key
    patch(csr_attributes, "_key", lambda algorithm: usual(algorithm)[:1])


@mutation(CSRATTRS, 141)
def what_csrattrs_demands_is_not_enforced(patch):
    patch(decide, "csrattrs_gate", _returning(OK))


# -- pending


@mutation(PENDING, 109, 110)
def every_poll_is_a_new_request(patch):
    numbers = itertools.count()
    usual = review.match_key
    patch(review, "match_key", lambda profile, facts: usual(f"{profile}{next(numbers)}", facts))


@mutation(PENDING, 112)
def anybody_collects_a_certificate(patch):
    from hashlib import sha256

    patch(review, "match_key", lambda profile, facts: sha256(facts.csr.spki).digest())


@mutation(PENDING, 111)
def nobody_has_to_approve(patch):
    usual = service.decide

    def judge(profile, facts, device, now, review=None):
        model = profile.model.model_copy(
            update={"approval": profile.model.approval.model_copy(update={"mode": "none"})}
        )
        return usual(replace(profile, model=model), facts, device, now, None)

    patch(service, "decide", judge)


@mutation(PENDING, 108, 114)
def retry_after_is_a_day(patch):
    answers(
        patch,
        lambda one: Answer(one.status, one.text, {**one.headers, "Retry-After": "999999"})
        if one.status == 202 else one,
    )  # fmt: skip


# -- renewal


@mutation(REENROLL, 117)
def every_key_renews(patch):
    patch(renewal, "_key_gate", _returning(OK))


@mutation(REENROLL, 129, 130)
def renewal_is_always_open(patch):
    patch(renewal, "_time_gate", _returning(OK))


@mutation(REENROLL, 126, 127)
def nobody_stands_in(patch):
    async def as_it_is(profile, operation, identity, csr, ledger):
        return identity

    patch(service, "renewing_identity", as_it_is)


@mutation(REENROLL, 131)
def the_old_certificate_stays(patch):
    patch(decide, "supersession", _returning(((), [])))


# -- cacerts and operations


@mutation(CACERTS, 2, 52)
def every_label_shows_the_same_roots(patch):
    from est_server.app import server

    usual = server.pages_of

    def pages(*parts):
        made = usual(*parts)
        one = made[None].cacerts
        return {label: replace(page, cacerts=one) for label, page in made.items()}

    patch(server, "pages_of", pages)


@mutation(CACERTS, 51)
def there_is_no_etag(patch):
    patch(est, "_unchanged", lambda request, response: response)


@mutation(OPERATIONS, 5)
def every_label_loads(patch):
    patch(checks, "RESERVED_LABELS", frozenset())


@mutation(OPERATIONS, 174)
def a_dry_run_says_yes(patch):
    from est_server.cli import profile_test

    usual = profile_test.decide

    def judge(profile, facts, *rest):
        found = usual(profile, facts, *rest)
        return replace(found, verdict="deny" if found.plan else "allow", rule=None)

    patch(profile_test, "decide", judge)


@mutation(OPERATIONS, 175)
def serial_numbers_are_the_nodes_own(patch):
    numbers = itertools.count(1)

    class Counting:
        random_serial_number = staticmethod(lambda: next(numbers))

    patch(service, "x509", Counting)


@mutation(OPERATIONS, 177)
def there_are_no_lines(patch):
    patch(AuditLine, "write", lambda self, status: None)


@mutation(OPERATIONS, 178)
def nobody_is_ready(patch):
    patch(admin.AdminEndpoint, "_ready", _async_returning(admin.respond(Answer(503))))


# -- keys that are made here


@fault("the_requests_key_is_ignored", label="keygen")
def the_requests_signature_counts(patch):
    usual = key_generation.read_keyless

    def read(profile, der):
        from est_server.wire.pkcs10 import parse_csr, verify_signature

        verify_signature(parse_csr(der))
        return usual(profile, der)

    patch(service, "read_keyless", read)


@fault("two_parts", "the_requests_key_is_ignored", label="keygen")
def the_parts_change_places(patch):
    usual = serverkeygen.encode_multipart
    patch(serverkeygen, "encode_multipart", lambda parts: usual(parts[::-1]))


@fault("the_key_is_the_certificates", label="keygen")
def another_key_leaves(patch):
    usual = key_generation.deliver

    def deliver(pkcs8, recipient, signer):
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        key = ec.generate_private_key(ec.SECP256R1())
        other = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return usual(other, recipient, signer)

    patch(key_generation, "deliver", deliver)


@fault("an_unknown_key_identifier", label="keygen")
@mutation(KEYGEN, 148, 149)
def keys_leave_in_the_clear(patch):
    patch(service, "delivery_for", _async_returning(key_delivery.KeyDelivery()))
