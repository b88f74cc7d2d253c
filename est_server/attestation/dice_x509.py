"""DICE: firmware in layers, each of which measured and certified the next.

    DiceStatement ::= Possession            -- `est_server.wire.possession`; its signature is over

    "est-server DICE statement" 00 nonce SHA-256(SubjectPublicKeyInfo of the request)

`certificate` is that of the last layer's key, the alias key. It holds the request's key, or signs
for it. A chain is a recording: what makes it an answer to a nonce is that signature, or the nonce
in tcg-dice-TcbFreshness of the last certificate.

What a certificate's TcbInfo says is about whoever holds its key, and was measured by the layer that
issued it. A layer that was taken over can put what it likes below itself; what is above is out of
its reach. So the environments of the whole chain, from the root downwards, are held against those
of the policy, one by one: no more, no fewer, in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.attestation.chains import refuse_revoked, spki
from est_server.attestation.dice_chain import verify_dice_chain
from est_server.attestation.dice_policy import DicePolicy, DiceSettings, environment_checks
from est_server.attestation.possession import named_certificate, verify_possession
from est_server.attestation.reading import refusing, sha256
from est_server.ports.verifier import (
    Challenge,
    EvidenceRefused,
    Platform,
    VerifiedEvidence,
)
from est_server.wire import dice
from est_server.wire.possession import Possession, read_possession

if TYPE_CHECKING:
    from cryptography import x509

    from est_server.ports.verifier import (
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        Json,
        VerificationContext,
        Verifier,
    )

CONTEXT = b"est-server DICE statement\0"


@dataclass(frozen=True, slots=True)
class _Layer:
    """What a certificate of the chain says beside its key."""

    environments: tuple[dice.TcbInfo, ...] = ()
    ueid: bytes | None = None
    nonce: bytes | None = None


class DiceX509:
    """The verifier ``dice-x509``."""

    settings_model = DiceSettings
    policy_model = DicePolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        """See `Verifier`."""
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:  # noqa: ARG002
        """Return the nonce beside the signature, or in the last certificate."""
        said = _read(evidence.statement)
        if said.nonce:
            return said.nonce
        leaf, _ = named_certificate(evidence.certificates, said.certificate, "dice")
        return _layer(leaf).nonce

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:  # noqa: ARG002
        """Return nothing: a nonce is all that a device needs."""
        return Challenge()

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """See `Verifier`.

        Raises:
            EvidenceRefused: ``dice.encoding``, ``dice.certificate-missing``, ``dice.no-tcb-info``,
                ``dice.unsupported``, ``dice.ueid``, ``dice.key-mismatch``, ``dice.nonce``,
                ``dice.signature``, ``dice.nonce-missing``, ``dice.revoked``,
                ``certificate.malformed``, those of `verify_dice_chain` and of `wire.dice`.
        """
        said = _read(evidence.statement)
        policy: DicePolicy = context.policy
        # (1) the last layer's certificate, and the way to a manufacturer's root
        leaf, pool = named_certificate(evidence.certificates, said.certificate, "dice")
        chain = verify_dice_chain(leaf, pool, context.trust, context.now)
        refuse_revoked(chain, policy.revoked, "dice")
        # (2) each certificate for itself: what is said about the last layer stands in its own
        layers = [_layer(found) for found in chain]
        if not layers[-1].environments:
            raise EvidenceRefused("dice.no-tcb-info", "TcbInfo in the last certificate", "none")
        # (3) that layer's key is the request's, or speaks for it, now
        nonce = _confirmed(said, leaf, layers[-1].nonce, context)
        # (4) one device
        ueids = {layer.ueid for layer in layers if layer.ueid is not None}
        if len(ueids) > 1:
            raise EvidenceRefused("dice.ueid", "one device", f"{len(ueids)}")
        # (5) what it runs
        environments = [found for layer in layers for found in layer.environments]
        return VerifiedEvidence(
            binds_key=True,
            fresh=nonce is not None and nonce == context.nonce,
            platform=_platform(chain, layers),
            claims={
                "subject": leaf.subject.rfc4514_string(),
                "ueid": next((found.hex() for found in ueids), None),
                "environments": {str(at): _shown(one) for at, one in enumerate(environments)},
            },
            checks=tuple(environment_checks(policy, environments)),
        )


def _read(der: bytes) -> Possession:
    with refusing():
        return read_possession(der, "dice.encoding")


def _layer(found: x509.Certificate) -> _Layer:
    values = {
        extension.oid.dotted_string: extension.value.public_bytes()
        for extension in found.extensions
        if extension.oid.dotted_string.startswith("2.23.133.5.4.")
    }
    if dice.MULTI_TCB_INFO_COMP in values:
        raise EvidenceRefused("dice.unsupported", "TcbInfo or MultiTcbInfo", "MultiTcbInfoComp")
    with refusing():
        environments: tuple[dice.TcbInfo, ...] = ()
        if dice.TCB_INFO in values:
            environments += (dice.read_tcb_info(values[dice.TCB_INFO]),)
        if dice.MULTI_TCB_INFO in values:
            environments += dice.read_multi_tcb_info(values[dice.MULTI_TCB_INFO])
        return _Layer(
            environments,
            dice.read_ueid(values[dice.UEID]) if dice.UEID in values else None,
            dice.read_tcb_freshness(values[dice.TCB_FRESHNESS])
            if dice.TCB_FRESHNESS in values
            else None,
        )


def _confirmed(
    said: Possession, leaf: x509.Certificate, certified: bytes | None, context: VerificationContext
) -> bytes | None:
    """Return the nonce that the request's key was confirmed with; None if with none."""
    if said.signature:
        if not said.nonce:
            raise EvidenceRefused("dice.nonce-missing", "a nonce under the signature", "none")
        signed = CONTEXT + said.nonce + sha256(context.spki)
        verify_possession(leaf, said.signature, signed, "dice")
        if certified is not None and certified != said.nonce:
            raise EvidenceRefused("dice.nonce", "one nonce", "another in the certificate")
        return said.nonce
    if spki(leaf) != context.spki:
        raise EvidenceRefused("dice.key-mismatch", "the last layer's key", "another in the CSR")
    if said.nonce and said.nonce != certified:
        raise EvidenceRefused("dice.nonce", "the nonce in the certificate", "one beside it")
    return certified


def _platform(chain: tuple[x509.Certificate, ...], layers: list[_Layer]) -> frozenset[Platform]:
    """Return what only this device has: its UEID, and the first key that is about its firmware."""
    first = next(at for at, layer in enumerate(layers) if layer.environments)
    found = {Platform("dice", sha256(spki(chain[first])).hex())}
    found |= {Platform("ueid", sha256(layer.ueid).hex()) for layer in layers if layer.ueid}
    return frozenset(found)


def _shown(found: dice.TcbInfo) -> dict[str, Json]:
    return {
        "vendor": found.vendor,
        "model": found.model,
        "version": found.version,
        "svn": found.svn,
        "layer": found.layer,
        "index": found.index,
        "fwids": [fwid.digest.hex() for fwid in found.fwids],
        "flags": None if found.flags is None else sorted(found.flags),
        "flags_mask": None if found.flags_mask is None else sorted(found.flags_mask),
        "vendor_info": None if found.vendor_info is None else found.vendor_info.hex()[:512],
        "type": None if found.type is None else found.type.hex()[:512],
    }


if TYPE_CHECKING:
    _fits: Verifier = DiceX509()
