"""What `decide` is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic_core import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.errors import Position
    from est_server.pki.key_recipient import KeyRecipient
    from est_server.pki.path import Anchors
    from est_server.pki.plan import CertificatePlan
    from est_server.ports.attestation import AttestationResult
    from est_server.ports.ledger import CertificateRecord, Device, Operation
    from est_server.ports.supersession import Supersession
    from est_server.wire.change_subject_name import ChangeSubjectName
    from est_server.wire.pkcs10 import CertificationRequest

ChannelBinding = Literal["absent", "matched", "mismatched", "unavailable"]
"""What became of the value in the CSR that links it to the TLS connection (RFC 7030 3.5)."""
OneTimePassword = Literal["absent", "matched", "mismatched"]
"""What became of the one-time password in the CSR (RFC 7894 3.1)."""


IdentityMethod = Literal[
    "credential", "client-certificate", "own-certificate", "other-ca", "registrar"
]


@dataclass(frozen=True, slots=True)
class Standin:
    """A certificate of ours on the connection that stands for the one to be renewed.

    Attributes:
        kind: another certificate of the same device (RFC 7030 3.3.2), or a registrar's.
        certificate: our record of it.
        device: the registrar's own device, if it has one.
    """

    kind: Literal["alternate", "registrar"]
    certificate: CertificateRecord
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, as authenticated.

    Attributes:
        name: what names the asker; the device's id where there is one.
        method: how it was proven; ``other-ca`` and ``registrar`` are for renewals only.
        credential_id: the credential used, if any.
        certificate: our own record of the certificate that was presented or is to be renewed.
        standin: what was presented where `certificate` was not.
        foreign: DER of the certificate to be renewed, for ``other-ca``.
        detail: how a person would say it: the user name, or the certificate's subject and issuer.
        trust: the trust store that a certificate of others was validated against.
        anchors: of which kind the anchor is that a certificate led to (RFC 7030 3.3.2).
    """

    name: str
    method: IdentityMethod
    credential_id: str | None = None
    certificate: CertificateRecord | None = None
    standin: Standin | None = None
    foreign: bytes | None = None
    detail: str = ""
    trust: str | None = None
    anchors: Anchors | None = None


@dataclass(frozen=True, slots=True)
class KeyDelivery:
    """How a server-made key is to leave (RFC 7030 4.4.1); without anything, in TLS alone.

    Attributes:
        recipient: who can open it, if it is to be encrypted.
        problem: rule and text, where it can't be as the request wants it.
        detail: how a person would say it.
    """

    recipient: KeyRecipient | None = None
    problem: tuple[str, str] | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """An authenticated request, as `decide` sees it.

    Attributes:
        registrar: the connection shows a certificate that we issued for a registration authority
            (id-kp-cmcRA, RFC 6402 2.10); only looked for where the channel binding does not fit, or
            there is an RA POP Witness.
        pop_witness: the request claims that a registrar verified the proof of possession (RA POP
            Witness, RFC 5272 6.7).
        key_compromised: a certificate with this key was revoked for keyCompromise.
        change: the other names that the CSR asks for (RFC 6402 2.8).
        others: the identity's good certificates of this profile, without the one that was the
            answer to this very question; empty where the profile does not look at them.
        delivery: for serverkeygen: how the key is to leave.
        secret_attributes: OIDs of those in the CSR that nobody writes down: they hold a password,
            or evidence.
        attestation: what the evidence came to; None where the profile asks for none.
    """

    operation: Operation
    label: str | None
    csr: CertificationRequest
    identity: Identity
    channel_binding: ChannelBinding = "absent"
    otp: OneTimePassword = "absent"
    registrar: bool = False
    key_compromised: bool = False
    change: ChangeSubjectName | None = None
    others: tuple[CertificateRecord, ...] = ()
    delivery: KeyDelivery | None = None
    secret_attributes: frozenset[str] = frozenset()
    pop_witness: bool = False
    attestation: AttestationResult | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One check and its outcome.

    Attributes:
        rule: stable name of the check; the one that failed becomes the decision's rule.
        ok: True passed, False refused, None not reached or not applicable.
        detail: what was expected and what was found, for the operator.
        position: the line of the profile that decided, if one did.
    """

    rule: str
    ok: bool | None
    detail: str
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, every gate, and the certificate that would follow.

    Attributes:
        verdict: allow, deny, or pending: a person has to approve it (RFC 7030 4.2.3).
        rule: the gate that refused, or that makes it wait; None when allowed.
        message: one sentence for the device.
        gates: every gate in order; after a refusal the rest are evaluated too where they can be,
            so that an operator sees all that is wrong at once.
        plan: the certificate to be made, or to be approved; None when refused.
        replaces: the certificate that the new one renews.
        supersedes: the certificates that it puts out of use, and when.
        retry_after: seconds after which the same request may be allowed, if time alone changes it,
            or somebody may have approved it.
        profile: name and digest of the profile that decided.
        at: the time it was decided for.
        attestation: what the evidence came to, if it was appraised.
    """

    verdict: Literal["allow", "deny", "pending"]
    rule: str | None
    message: str
    gates: tuple[Gate, ...]
    plan: CertificatePlan | None
    profile: tuple[str, str]
    at: datetime
    retry_after: int | None = None
    replaces: CertificateRecord | None = None
    supersedes: tuple[Supersession, ...] = ()
    attestation: AttestationResult | None = None

    def trace(self, plan: str | None = None) -> str:
        """Return gates, plan and Attestation Result as JSON, the form that the ledger keeps.

        Args:
            plan: as it was ordered, in JSON; None for the decision's own.
        """
        if plan is None and self.plan is not None:
            plan = self.plan.as_json()
        return trace_json(self.gates, plan, self.attestation)


def trace_json(
    gates: tuple[Gate, ...], plan: str | None, attestation: AttestationResult | None = None
) -> str:
    """Return gates, plan, which is JSON already, and Attestation Result as one line of JSON."""
    content = [
        {
            "rule": gate.rule,
            "ok": gate.ok,
            "detail": gate.detail,
            "at": None if gate.position is None else str(gate.position),
        }
        for gate in gates
    ]
    text = to_json(content).decode()
    if attestation is None:
        return f'{{"gates":{text},"plan":{plan or "null"}}}'
    result = to_json(attestation.as_dict()).decode()
    return f'{{"gates":{text},"plan":{plan or "null"},"attestation":{result}}}'
