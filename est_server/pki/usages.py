"""Key usages and extended key usages by name (RFC 5280 4.2.1.3, 4.2.1.12)."""

from __future__ import annotations

from cryptography import x509

KEY_USAGES = (
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
EXTENDED_KEY_USAGES = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "ipsecIKE": "1.3.6.1.5.5.7.3.17",
    "cmcRA": "1.3.6.1.5.5.7.3.28",
}
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
"""Without a name: no profile gives it away (RFC 6960 4.2.2.2)."""
CLIENT_AUTH = EXTENDED_KEY_USAGES["clientAuth"]
ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0"
CMC_RA = EXTENDED_KEY_USAGES["cmcRA"]
"""id-kp-cmcRA: a registration authority that enrolls on behalf of others (RFC 6402 2.10)."""


def key_usage_extension(names: tuple[str, ...]) -> x509.KeyUsage:
    """Return the extension with these bits set."""
    wanted = set(names)
    bits = [name in wanted for name in KEY_USAGES]
    return x509.KeyUsage(*bits)


def key_usage_names(extension: x509.KeyUsage) -> tuple[str, ...]:
    """Return the names of the bits that are set, in the standard's order."""
    agreement = extension.key_agreement
    bits = (
        extension.digital_signature,
        extension.content_commitment,
        extension.key_encipherment,
        extension.data_encipherment,
        agreement,
        extension.key_cert_sign,
        extension.crl_sign,
        agreement and extension.encipher_only,
        agreement and extension.decipher_only,
    )
    return tuple(name for name, bit in zip(KEY_USAGES, bits, strict=True) if bit)


def extended_key_usages(certificate: x509.Certificate) -> frozenset[str]:
    """Return the dotted OIDs of a certificate's extendedKeyUsage; empty without one."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(purpose.dotted_string for purpose in extension.value)
