"""Faults in keys made here, CMC, what waits, reloads, evidence, and CAs elsewhere."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from faults import fault, mutation
from faults_enroll import bindings

from backends import est_upstream, pkcs11_messages, pkcs11_session, remote
from est_server.app import authorities, listeners
from est_server.app import server as app_server
from est_server.enrollment import appraising, asking, authenticate, key_generation, service
from est_server.enrollment.key_delivery import DeliveredKey
from est_server.errors import BackendUnavailable, ConfigurationError, Denied, Malformed, NotFound
from est_server.ports.ca import Health
from est_server.ports.verifier import EvidenceRefused
from est_server.profiles.decision import Gate
from est_server.web import est, full_cmc, nonce, tls_transport
from est_server.wire.freshness import NonceRequest

DELIVER = key_generation.deliver
ANSWER = full_cmc.FullCmc.answer
ALLOWED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@fault("plain_http")
def plain_http_is_answered_too(patch):
    usual = tls_transport.TlsTransport.buffer_updated

    def updated(self, nbytes):
        if bytes(self._room[:3]) in {b"GET", b"POS"} and self._state == "handshake":
            self._socket.write(ALLOWED)
        else:
            usual(self, nbytes)

    patch(tls_transport.TlsTransport, "buffer_updated", updated)


@mutation("test_proof_of_possession.py", 97)
def the_exporter_of_tls_1_3_does_not_count(patch):
    def change(_, tls, usual):
        found = usual()
        return "mismatched" if found == "matched" and tls.version == "TLSv1.3" else found

    bindings(patch, change)


@mutation("../e2e/test_review_queue.py", 113)
def nobody_remembers_who_waits(patch):
    async def nobody(self, profile, facts):
        return None

    patch(service.Reviews, "of", nobody)


@mutation("test_serverkeygen.py", 146, 147)
def keys_leave_unencrypted(patch):
    patch(key_generation, "deliver", lambda pkcs8, *_: DeliveredKey(pkcs8, encrypted=False))


@mutation("test_serverkeygen.py", 150)
def encryption_is_never_required(patch):
    patch(Gate, "__init__", _lenient(Gate.__init__, "keygen.encryption-required"))


def _lenient(usual: Any, rule: str) -> Any:
    """Return a `Gate.__init__` that lets one rule pass."""

    def init(self, name, ok, *rest, **more):
        usual(self, name, name.startswith(rule) or ok, *rest, **more)

    return init


@mutation("test_serverkeygen.py", 151)
def keys_are_logged(patch):
    def deliver(pkcs8, *rest):
        print(pkcs8.hex(), file=sys.stderr, flush=True)
        return DELIVER(pkcs8, *rest)

    patch(key_generation, "deliver", deliver)


@mutation("test_fullcmc.py", 152)
def what_is_not_offered_is_answered(patch):
    async def answer(self, request):
        try:
            return await ANSWER(self, request)
        except NotFound:
            return full_cmc.CmcAnswer(200, b"0\0", full_cmc.CERTS_ONLY)

    patch(full_cmc.FullCmc, "answer", answer)


@mutation("test_fullcmc.py", 153)
def any_media_type_is_cmc(patch):
    patch(est, "require_cmc_request", lambda content_type: None)


@mutation("test_fullcmc.py", 154)
def failures_of_cmc_have_no_response(patch):
    def failure(error, message, signer):
        return full_cmc.CmcAnswer(400, b"", full_cmc.CERTS_ONLY, error=error)

    patch(full_cmc, "_failure", failure)


@mutation("test_fullcmc.py", 155)
def success_of_cmc_is_empty(patch):
    def success(enrolled, message, signer):
        return full_cmc.CmcAnswer(200, b"0\0", full_cmc.CERTS_ONLY, enrolled=enrolled)

    patch(full_cmc, "_success", success)


@mutation("test_fullcmc.py", 156)
def every_failure_is_a_bad_request(patch):
    patch(full_cmc, "fail_info", lambda error: "badRequest")


@mutation("test_fullcmc.py", 157)
def everybody_is_a_registrar(patch):
    async def registrar(self, request):
        return True

    patch(authenticate.Authenticator, "is_registrar", registrar)


@mutation("../e2e/test_config_mistakes.py", 172)
def a_bad_profile_ends_the_server(patch):
    usual = app_server.load

    def load(path):
        try:
            return usual(path)
        except ConfigurationError:
            os._exit(1)

    patch(app_server, "load", load)


@mutation("../e2e/test_enrollment_http.py", 173)
def a_reload_changes_nothing(patch):
    async def reload(self):
        return None

    patch(app_server.Server, "_reload", reload)


# -- evidence (draft-ietf-lamps-csr-attestation, draft-ietf-lamps-attestation-freshness) ----------

BUNDLE = appraising.attestation_bundle


@mutation("../attestation/test_evidence_http.py", 164)
def a_second_attribute_is_the_askers_fault(patch):
    usual = service.parse_csr

    def parse(der, **how):
        try:
            return usual(der, **how)
        except Malformed as error:
            raise Denied(error.rule, error.message) from error

    patch(service, "parse_csr", parse)


@mutation("../attestation/test_evidence_http.py", 167)
def evidence_that_can_not_be_read_is_none(patch):
    def bundle(csr):
        try:
            return BUNDLE(csr)
        except Malformed:
            return None

    patch(appraising, "attestation_bundle", bundle)


@mutation("../attestation/test_evidence_http.py", 165, 166, 168)
def every_appraisal_affirms(patch):
    usual = appraising.Appraiser._verified

    async def verified(self, *given):
        try:
            return await usual(self, *given)
        except BackendUnavailable:
            return EvidenceRefused("nobody.asked")

    patch(appraising.Appraiser, "_verified", verified)
    patch(Gate, "__init__", _lenient(Gate.__init__, "attestation"))


@mutation("../attestation/test_nonce_http.py", 169)
def nonces_are_of_another_media_type(patch):
    patch(nonce, "MEDIA_TYPE", "application/json")


@mutation("../attestation/test_nonce_http.py", 170)
def nonces_have_one_length(patch):
    patch(nonce, "read_nonce_request", lambda body: NonceRequest())


@mutation("../attestation/test_nonce_http.py", 171)
def nonces_belong_to_everybody(patch):
    patch(appraising, "session_digest", lambda tls: b"\0" * 32)


# -- CAs elsewhere --------------------------------------------------------------------------------


@mutation("test_upstream.py", 158)
def the_request_goes_on_changed(patch):
    usual = est_upstream.EstUpstreamAuthority.issue

    async def issue(self, order):
        return await usual(self, replace(order, csr=order.csr[:-1] + bytes([order.csr[-1] ^ 1])))

    patch(est_upstream.EstUpstreamAuthority, "issue", issue)


@mutation("test_upstream.py", 159)
def who_waits_upstream_fails_here(patch):
    def failure(rule, message, *, retry_after):
        return BackendUnavailable(rule, message, retry_after=retry_after)

    patch(est_upstream, "Pending", failure)


@mutation("test_upstream.py", 160)
def a_refusal_upstream_is_an_outage(patch):
    patch(est_upstream, "_REFUSED", frozenset())


@mutation("test_upstream.py", 161)
def an_outage_says_no_time(patch):
    patch(remote.Answer, "retry_after", None)


@mutation("test_upstream.py", 162)
def what_comes_back_is_not_checked(patch):
    patch(asking, "check_issued", lambda *_, **__: None)


@mutation("test_upstream.py", 163)
def the_upstream_is_asked_once(patch):
    async def health(self):
        return Health(ok=True, detail="")

    patch(est_upstream.EstUpstreamAuthority, "health", health)


@mutation("../e2e/test_pkcs11.py", 176)
def a_signing_process_is_started_once(patch):
    usual = pkcs11_session.Session._start
    started = set()

    async def start(self):
        if id(self) in started:
            raise self._unavailable(pkcs11_messages.Failed("gone", "started once"))
        started.add(id(self))
        return await usual(self)

    patch(pkcs11_session.Session, "_start", start)


@mutation("test_cacerts.py", 50)
def nobody_is_told_that_a_ca_is_away(patch):
    patch(authorities.Authorities, "unavailable", lambda self, ca, rollovers=(): None)


@mutation("test_cacerts_rollover.py", 41)
def the_tls_chain_knows_no_rollover(patch):
    patch(listeners, "presented", lambda configured, *_: tuple(configured))


@mutation("test_cacerts_rollover.py", 47)
def cacerts_know_no_rollover(patch):
    def published(ca, rollovers, certificates):
        found = certificates[ca]
        return found.issuer, *found.chain

    patch(listeners, "published", published)
