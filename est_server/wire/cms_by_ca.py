"""SignedData that a CA signs itself (RFC 5652 5), read with nothing but the CA's certificate.

    SignedData { version 3, digestAlgorithms, encapContentInfo { content type, content },
        signerInfos { version 3, subjectKeyIdentifier [0], digestAlgorithm,
            signedAttrs { contentType, messageDigest }, signatureAlgorithm, signature } }

No certificate is inside: who reads it has the CA's already, or can't believe it. The CA's key may
be elsewhere, so what it has to sign is given out and its signature taken in.
"""

from __future__ import annotations

from typing import Any

from asn1crypto import algos, cms
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from est_server.errors import Malformed
from est_server.wire.cms_signed import content_info, signed_attributes, signed_data
from est_server.wire.der import require_one_sequence
from est_server.wire.signer_info import require_signature

_UNREADABLE = (
    ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError,
    UnsupportedAlgorithm,
)  # fmt: skip
_RULE = "signed"


def to_be_signed(content: bytes, content_type: str, algorithm: bytes) -> bytes:
    """Return the octets that the CA's key has to sign.

    Args:
        content: what is to be believed.
        content_type: its OID, another than id-data.
        algorithm: DER AlgorithmIdentifier of the CA's signatures.
    """
    return signed_attributes(content, content_type, _digest_name(algorithm))


def encode_signed(
    content: bytes, content_type: str, key_identifier: bytes, algorithm: bytes, signature: bytes
) -> bytes:
    """Return the DER of a ContentInfo.

    Args:
        content: as in `to_be_signed`.
        content_type: as in `to_be_signed`.
        key_identifier: subjectKeyIdentifier of the CA.
        algorithm: as in `to_be_signed`.
        signature: over what `to_be_signed` gave.
    """
    digest_name = _digest_name(algorithm)
    attributes = signed_attributes(content, content_type, digest_name)
    info = {
        "version": "v3",
        "sid": cms.SignerIdentifier("subject_key_identifier", key_identifier),
        "digest_algorithm": {"algorithm": digest_name},
        "signed_attrs": cms.CMSAttributes.load(attributes),
        "signature_algorithm": algos.SignedDigestAlgorithm.load(algorithm),
        "signature": signature,
    }
    return content_info(signed_data(content, content_type, info))


def decode_signed(der: bytes, content_type: str, *, most_octets: int) -> tuple[bytes, Any]:
    """Return the content and its one signature, which is not checked yet.

    Raises:
        Malformed: ``signed.too-large``, ``signed.encoding``, ``signed.trailing-bytes``,
            ``signed.content-type``, ``signed.signers``.
    """
    if len(der) > most_octets:
        raise Malformed("signed.too-large", f"the message has more than {most_octets} octets")
    require_one_sequence(der, _RULE)
    try:
        outer = cms.ContentInfo.load(der, strict=True)
        if outer["content_type"].native != "signed_data":
            raise Malformed("signed.content-type", "this is not SignedData")
        signed = outer["content"]
        encapsulated, infos = signed["encap_content_info"], signed["signer_infos"]
        if encapsulated["content_type"].dotted != content_type:
            raise Malformed("signed.content-type", f"the content is not {content_type}")
        if len(infos) != 1:
            raise Malformed("signed.signers", "there is not exactly one signer")
        return bytes(encapsulated["content"]), infos[0]
    except _UNREADABLE as error:
        raise Malformed("signed.encoding", "this is not SignedData") from error


def verify_by_ca(der: bytes, content_type: str, ca: x509.Certificate, *, most_octets: int) -> bytes:
    """Return the content, which the key of `ca` has signed.

    Raises:
        Malformed: as in `decode_signed`; ``signed.signers``: another key's, or the certificate is
            not one for lists; ``signed.algorithm``, ``signed.signature``.
    """
    content, info = decode_signed(der, content_type, most_octets=most_octets)
    try:
        identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
        named = info["sid"].name == "subject_key_identifier" and info["sid"].native == identifier
        if not named or not usage.crl_sign:
            raise Malformed("signed.signers", "this CA has not signed it, or may not")
        require_signature(info, ca.public_key(), content, content_type, _RULE)
    except x509.ExtensionNotFound as error:
        raise Malformed("signed.signers", "the CA's certificate does not say what it is") from error
    except _UNREADABLE as error:
        raise Malformed("signed.encoding", "this is not SignedData") from error
    return content


def _digest_name(algorithm: bytes) -> str:
    try:
        name: str = algos.SignedDigestAlgorithm.load(algorithm).hash_algo
    except ValueError:  # RFC 8419 3.1, RFC 9882: keys that hash by themselves
        return "sha512"
    return name if name in {"sha256", "sha384"} else "sha512"
