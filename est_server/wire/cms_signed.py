"""SignedData around a key package (RFC 5652 5, RFC 5958 2 and 4, RFC 7030 4.4.2).

    AsymmetricKeyPackage ::= SEQUENCE SIZE (1..MAX) OF OneAsymmetricKey

    SignedData { version 3, digestAlgorithms, encapContentInfo { id-ct-KP-aKeyPackage, content },
        certificates [0], signerInfos { version 1, issuerAndSerialNumber, digestAlgorithm,
            signedAttrs { contentType, messageDigest }, signatureAlgorithm, signature } }

`cryptography` signs id-data only, so the structure is put together here; the signature is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asn1crypto import algos, cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.errors import Malformed
from est_server.wire.der import children, require_one_sequence
from est_server.wire.signer_info import require_signature

KEY_PACKAGE = "2.16.840.1.101.2.1.2.78.5"
LARGEST = 65536

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: the party that made the key.

    Attributes:
        certificate: of `key`.
        key: EC, RSA or Ed25519.
        above: further certificates that the receiver may need for the path.
    """

    certificate: x509.Certificate
    key: SigningKey = field(repr=False)
    above: tuple[x509.Certificate, ...] = ()


def key_package(private_key_info: bytes) -> bytes:
    """Return the DER of an AsymmetricKeyPackage with one key.

    Args:
        private_key_info: DER of a PKCS #8 PrivateKeyInfo, which is a OneAsymmetricKey of version 1.
    """
    package: bytes = core.SequenceOf([core.Any.load(private_key_info)], spec=core.Any).dump()
    return package


def unpack_key_package(der: bytes) -> bytes:
    """Return the DER of the one key in an AsymmetricKeyPackage.

    Raises:
        Malformed: ``key-package.encoding``, ``key-package.trailing-bytes``, ``key-package.count``.
    """
    require_one_sequence(der, "key-package")
    try:
        found = children(der)
    except ValueError as error:
        raise Malformed("key-package.encoding", "this is no key package") from error
    if len(found) != 1:
        raise Malformed("key-package.count", f"the package has {len(found)} keys, not one")
    return found[0]


def sign_content(content: bytes, content_type: str, signer: Signer) -> bytes:
    """Return the DER of SignedData, without the ContentInfo around it.

    Args:
        content: what is signed, and carried inside.
        content_type: its OID, another than id-data.
        signer: who signs.
    """
    digest_name = _digest_name(signer.key)
    attributes = signed_attributes(content, content_type, digest_name)
    certificate = asn1_x509.Certificate.load(signer.certificate.public_bytes(Encoding.DER))
    above = [asn1_x509.Certificate.load(one.public_bytes(Encoding.DER)) for one in signer.above]
    return signed_data(
        content,
        content_type,
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                {"issuer": certificate.issuer, "serial_number": certificate.serial_number},
            ),
            "digest_algorithm": {"algorithm": digest_name},
            "signed_attrs": cms.CMSAttributes.load(attributes),
            "signature_algorithm": _signature_algorithm(signer.key, digest_name),
            "signature": _sign(signer.key, attributes, _HASHES[digest_name]),
        },
        (certificate, *above),
    )


def signed_attributes(content: bytes, content_type: str, digest_name: str) -> bytes:
    """Return the DER of what is signed in place of the content (RFC 5652 5.4).

    Args:
        content: what the attributes bind.
        content_type: its OID.
        digest_name: ``sha256``, ``sha384`` or ``sha512``.
    """
    digest = hashes.Hash(_HASHES[digest_name])
    digest.update(content)
    made: bytes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": [content_type]},
            {"type": "message_digest", "values": [digest.finalize()]},
        ]
    ).dump()  # the SET OF, not the field's own tag
    return made


def signed_data(
    content: bytes,
    content_type: str,
    signer_info: dict[str, Any],
    certificates: tuple[asn1_x509.Certificate, ...] = (),
) -> bytes:
    """Return the DER of SignedData with one signature, without the ContentInfo around it.

    Args:
        content: what is signed, and carried inside.
        content_type: its OID.
        signer_info: the fields of SignerInfo.
        certificates: what is put in beside it.
    """
    fields: dict[str, Any] = {
        "version": "v3",
        "digest_algorithms": [signer_info["digest_algorithm"]],
        "encap_content_info": {
            "content_type": content_type,
            "content": core.ParsableOctetString(content),
        },
        "signer_infos": [cms.SignerInfo(signer_info)],
    }
    if certificates:
        fields["certificates"] = [
            cms.CertificateChoices("certificate", one) for one in certificates
        ]
    made: bytes = cms.SignedData(fields).dump()
    return made


def content_info(signed: bytes) -> bytes:
    """Return the DER of a ContentInfo around what `sign_content` gives."""
    made: bytes = cms.ContentInfo(
        {"content_type": "signed_data", "content": cms.SignedData.load(signed)}
    ).dump()
    return made


def verify_signed(der: bytes, content_type: str) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the content of SignedData and its certificates, the signer's own first.

    The signature is checked with that certificate's key; whether the certificate may be believed is
    the caller's to decide.

    Raises:
        Malformed: ``signed.encoding``, ``signed.trailing-bytes``, ``signed.too-large``,
            ``signed.content-type``, ``signed.signers``, ``signed.algorithm``, ``signed.signature``.
    """
    if len(der) > LARGEST:
        raise Malformed("signed.too-large", f"the message has more than {LARGEST} octets")
    require_one_sequence(der, "signed")
    try:
        return _verified(cms.SignedData.load(der, strict=True), content_type)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError,
            UnsupportedAlgorithm, x509.InvalidVersion) as error:  # fmt: skip
        raise Malformed("signed.encoding", "this is not SignedData") from error


def _verified(signed: Any, content_type: str) -> tuple[bytes, tuple[bytes, ...]]:
    encapsulated = signed["encap_content_info"]
    if encapsulated["content_type"].dotted != content_type:
        raise Malformed("signed.content-type", f"the content is not {content_type}")
    content = bytes(encapsulated["content"])
    if len(signed["signer_infos"]) != 1:
        raise Malformed("signed.signers", "there is not exactly one signer")
    (info,) = signed["signer_infos"]
    certificates = [one.chosen for one in signed["certificates"] if one.name == "certificate"]
    wanted = info["sid"].chosen
    named = [
        one
        for one in certificates
        if info["sid"].name == "issuer_and_serial_number"
        and (one.issuer, one.serial_number) == (wanted["issuer"], wanted["serial_number"].native)
    ]
    if len(named) != 1:
        raise Malformed("signed.signers", "the signer's certificate is not there")
    key = x509.load_der_x509_certificate(named[0].dump()).public_key()
    require_signature(info, key, content, content_type, "signed")
    others = (one.dump() for one in certificates if one is not named[0])
    return content, (named[0].dump(), *others)


def _digest_name(key: SigningKey) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "sha512"  # RFC 8419 3.1
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: "sha256", 384: "sha384"}.get(key.curve.key_size, "sha512")
    return "sha256"


def _signature_algorithm(key: SigningKey, digest_name: str) -> algos.SignedDigestAlgorithm:
    match key:
        case ec.EllipticCurvePrivateKey():
            name = f"{digest_name}_ecdsa"
        case rsa.RSAPrivateKey():
            name = f"{digest_name}_rsa"
        case _:
            name = "ed25519"
    return algos.SignedDigestAlgorithm({"algorithm": name})


def _sign(key: SigningKey, data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(data, ec.ECDSA(algorithm))
        case rsa.RSAPrivateKey():
            return key.sign(data, padding.PKCS1v15(), algorithm)
        case _:
            return key.sign(data)
