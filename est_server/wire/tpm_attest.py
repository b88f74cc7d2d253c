"""What a TPM says and signs (TPM 2.0 Part 2, 10.12.12): certify, creation and quote.

    TPMS_ATTEST ::= magic            u32, 0xFF544347: made by a TPM, not merely signed by one
                    type             u16
                    qualifiedSigner  TPM2B, a Name
                    extraData        TPM2B, the asker's nonce
                    clockInfo        clock u64 in ms, resetCount u32, restartCount u32, safe u8
                    firmwareVersion  u64
                    attested         by type:
        0x8017 certify   name TPM2B, qualifiedName TPM2B
        0x801A creation  objectName TPM2B, creationHash TPM2B
        0x8018 quote     count u32, that many of {hash u16, size u8, bitmap}; pcrDigest TPM2B

A restricted key signs only what begins with the magic if the TPM itself has made it: that is why
the magic means something, and why the attestation key has to be restricted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from est_server.errors import Malformed
from est_server.wire.tpm_buffer import Reader

MOST_OCTETS = 1024
MAGIC = 0xFF544347
CERTIFY = 0x8017
QUOTE = 0x8018
CREATION = 0x801A
MOST_BANKS = 16
MOST_BITMAP = 4
_RULE = "tpm-attest"


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """The registers of one bank.

    Attributes:
        bank: TPM_ALG_ID of the bank.
        indices: ascending.
    """

    bank: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TpmAttest:
    """One statement, read whole.

    Attributes:
        data: the statement as signed.
        kind: `CERTIFY`, `CREATION` or `QUOTE`.
        qualified_signer: qualified Name of the key that signed.
        extra_data: what the asker gave, the nonce.
        clock: milliseconds that the TPM has been powered.
        reset_count: resets since the TPM was cleared.
        restart_count: restarts since the last reset.
        safe: the clock was never ahead of what it says now.
        firmware_version: the TPM's own.
        name: Name of the certified object; empty for a quote.
        selections: of a quote, in order.
        pcr_digest: of a quote, over the selected registers.
    """

    data: bytes = field(repr=False)
    kind: int
    qualified_signer: bytes
    extra_data: bytes = field(repr=False)
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    name: bytes = b""
    selections: tuple[PcrSelection, ...] = ()
    pcr_digest: bytes = b""


@lru_cache(maxsize=16)  # each is read for its nonce, and again to be verified
def parse_attest(data: bytes) -> TpmAttest:
    """Read a TPMS_ATTEST.

    Raises:
        Malformed: ``tpm-attest.too-large``, ``tpm-attest.truncated``,
            ``tpm-attest.trailing-bytes``, ``tpm-attest.magic``, ``tpm-attest.type``,
            ``tpm-attest.selection``.
    """
    reader = Reader(data, _RULE, MOST_OCTETS)
    magic, kind = reader.number(4), reader.number(2)
    if magic != MAGIC:
        raise Malformed("tpm-attest.magic", "no TPM made this: it lacks TPM_GENERATED_VALUE")
    if kind not in {CERTIFY, CREATION, QUOTE}:
        raise Malformed("tpm-attest.type", f"a statement of type 0x{kind:04x} proves nothing here")
    signer, extra = reader.sized(), reader.sized()
    clock, resets, restarts, safe = (reader.number(octets) for octets in (8, 4, 4, 1))
    firmware = reader.number(8)
    name, pcr_digest = b"", b""
    selections: tuple[PcrSelection, ...] = ()
    if kind == QUOTE:
        selections, pcr_digest = _selections(reader), reader.sized()
    else:
        name, _ = reader.sized(), reader.sized()
    reader.end()
    return TpmAttest(
        data=data,
        kind=kind,
        qualified_signer=signer,
        extra_data=extra,
        clock=clock,
        reset_count=resets,
        restart_count=restarts,
        safe=safe == 1,
        firmware_version=firmware,
        name=name,
        selections=selections,
        pcr_digest=pcr_digest,
    )


def _selections(reader: Reader) -> tuple[PcrSelection, ...]:
    """TPML_PCR_SELECTION (Part 2, 10.9.7)."""
    count = reader.number(4)
    if count > MOST_BANKS:
        raise Malformed("tpm-attest.selection", f"more than {MOST_BANKS} banks")
    return tuple(_selection(reader) for _ in range(count))


def _selection(reader: Reader) -> PcrSelection:
    bank, size = reader.number(2), reader.number(1)
    if size > MOST_BITMAP:
        raise Malformed("tpm-attest.selection", f"more than {8 * MOST_BITMAP} registers")
    bits = int.from_bytes(reader.take(size), "little")
    return PcrSelection(bank, tuple(index for index in range(8 * size) if bits >> index & 1))
