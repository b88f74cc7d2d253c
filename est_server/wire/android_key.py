"""The key description in certificates of Android's KeyMint, and of Keymaster 2 to 4 before it.

    1.3.6.1.4.1.11129.2.1.17    KeyDescription      not critical

    KeyDescription ::= SEQUENCE {
        attestationVersion         INTEGER,         -- 1 to 4, 100, 200, 300, 400
        attestationSecurityLevel   SecurityLevel,
        keyMintVersion             INTEGER,
        keyMintSecurityLevel       SecurityLevel,
        attestationChallenge       OCTET STRING,
        uniqueId                   OCTET STRING,
        softwareEnforced           AuthorizationList,
        hardwareEnforced           AuthorizationList }

    SecurityLevel ::= ENUMERATED { software(0), trustedEnvironment(1), strongBox(2) }

    AuthorizationList ::= SEQUENCE {                -- all EXPLICIT OPTIONAL; those that are read
        purpose [1] SET OF INTEGER, algorithm [2] INTEGER, keySize [3] INTEGER,
        allApplications [600] NULL, origin [702] INTEGER, rootOfTrust [704] RootOfTrust,
        osVersion [705] INTEGER, osPatchLevel [706] INTEGER,
        attestationApplicationId [709] OCTET STRING,
        attestationId… [710] to [717], [723] OCTET STRING,
        vendorPatchLevel [718] INTEGER, bootPatchLevel [719] INTEGER, … }

    RootOfTrust ::= SEQUENCE {
        verifiedBootKey   OCTET STRING,
        deviceLocked      BOOLEAN,
        verifiedBootState ENUMERATED { verified(0), selfSigned(1), unverified(2), failed(3) },
        verifiedBootHash  OCTET STRING }            -- from version 3 on

    AttestationApplicationId ::= SEQUENCE {
        packageInfos     SET OF SEQUENCE { packageName OCTET STRING, version INTEGER },
        signatureDigests SET OF OCTET STRING }

Other tags of a list are read over; the same one twice is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from asn1crypto import parser

from est_server.errors import Malformed
from est_server.wire.der import OCTET_STRING, SEQUENCE, children, content_of, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

KEY_DESCRIPTION = "1.3.6.1.4.1.11129.2.1.17"
SECURITY_LEVELS = ("software", "tee", "strongbox")
BOOT_STATES = ("verified", "self-signed", "unverified", "failed")
PURPOSES = (
    "encrypt", "decrypt", "sign", "verify", "derive", "wrap-key", "agree-key", "attest-key",
)  # fmt: skip
ORIGINS = ("generated", "derived", "imported", "reserved", "securely-imported")
_VERSIONS = frozenset({1, 2, 3, 4, 100, 200, 300, 400})
_IDENTIFIERS = {
    710: "brand", 711: "device", 712: "product", 713: "serial", 714: "imei", 715: "meid",
    716: "manufacturer", 717: "model", 723: "second_imei",
}  # fmt: skip
_LONGEST = 8192
_LONGEST_TEXT = 512
_MOST_TAGS = 64
_MOST_ITEMS = 16
_RULE = "android-key.encoding"
_BOOLEAN, _INTEGER, _NULL, _ENUMERATED, _SET = 0x01, 0x02, 0x05, 0x0A, 0x31
_CONTEXT, _EXPLICIT = 2, 1


@dataclass(frozen=True, slots=True)
class RootOfTrust:
    """How the device started; `boot_state` is one of `BOOT_STATES`."""

    boot_key: bytes
    locked: bool
    boot_state: str
    boot_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """The applications that share the key's owner, and SHA-256 of the certificates they have."""

    packages: tuple[str, ...]
    signers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Authorizations:
    """An AuthorizationList; None for what is not there.

    Attributes:
        origin: one of `ORIGINS`.
        purposes: of `PURPOSES`.
        os_patch_level: YYYYMM; the others YYYYMMDD, or YYYYMM too.
        identifiers: of the device, by ``brand``, ``serial`` and so on.
    """

    purposes: frozenset[str] = frozenset()
    algorithm: int | None = None
    key_size: int | None = None
    all_applications: bool = False
    origin: str | None = None
    root_of_trust: RootOfTrust | None = None
    os_version: int | None = None
    os_patch_level: int | None = None
    vendor_patch_level: int | None = None
    boot_patch_level: int | None = None
    application: Application | None = None
    identifiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """What is said about a key; the levels are indices of `SECURITY_LEVELS`."""

    version: int
    security_level: int
    keymint_version: int
    keymint_security_level: int
    challenge: bytes
    unique_id: bytes
    software: Authorizations
    hardware: Authorizations


def read_key_description(der: bytes) -> KeyDescription:
    """Read the extension's value.

    Raises:
        Malformed: ``android-key.encoding``, ``android-key.too-large``, ``android-key.too-many``,
            ``android-key.version``.
    """
    if len(der) > _LONGEST:
        raise Malformed("android-key.too-large", f"more than {_LONGEST} octets")
    parts = _parts(der, SEQUENCE, 8)
    if len(parts) != 8:
        raise Malformed(_RULE, "a key description has eight fields")
    version = _number(parts[0])
    if version not in _VERSIONS:
        raise Malformed("android-key.version", f"a key description of version {version}")
    return KeyDescription(
        version,
        SECURITY_LEVELS.index(_one_of(parts[1], _ENUMERATED, SECURITY_LEVELS)),
        _number(parts[2]),
        SECURITY_LEVELS.index(_one_of(parts[3], _ENUMERATED, SECURITY_LEVELS)),
        _octets(parts[4]),
        _octets(parts[5]),
        _authorizations(parts[6]),
        _authorizations(parts[7]),
    )


def read_statement(der: bytes) -> bytes:
    """Return the SHA-256 that a statement is: OCTET STRING (SIZE (32)), ours.

    Raises:
        Malformed: ``android-key.encoding``.
    """
    found = _octets(der)
    if len(found) != 32:
        raise Malformed(_RULE, "a statement is a SHA-256")
    return found


def _authorizations(der: bytes) -> Authorizations:
    found: dict[str, Any] = {}
    identifiers: dict[str, str] = {}
    for tag, value in _tagged(_element(der, SEQUENCE)).items():
        if tag in _IDENTIFIERS:
            identifiers[_IDENTIFIERS[tag]] = _text(value)
        elif tag in _READ:
            name, read = _READ[tag]
            found[name] = read(value)
    return Authorizations(**found, identifiers=identifiers)


def _tagged(data: bytes) -> dict[int, bytes]:
    """Return what stands in explicit context tags, by their number."""
    found: dict[int, bytes] = {}
    while data:
        try:
            kind, method, tag, head, content, trailer = parser.parse(data)
        except (ValueError, TypeError) as error:
            raise Malformed(_RULE, "an authorization list can't be read") from error
        size = len(head) + len(content)
        if trailer or parser.emit(kind, method, tag, content) != data[:size]:
            raise Malformed(_RULE, "an authorization list is not DER")
        if (kind, method) != (_CONTEXT, _EXPLICIT) or tag in found:
            raise Malformed(_RULE, f"no tag {tag} of an authorization list")
        if len(found) == _MOST_TAGS:
            raise Malformed("android-key.too-many", f"more than {_MOST_TAGS} tags")
        found[tag] = content
        data = data[size:]
    return found


def _root_of_trust(der: bytes) -> RootOfTrust:
    parts = _parts(der, SEQUENCE, 4)
    if len(parts) < 3:
        raise Malformed(_RULE, "a root of trust has three fields or four")
    return RootOfTrust(
        _octets(parts[0]),
        _boolean(parts[1]),
        _one_of(parts[2], _ENUMERATED, BOOT_STATES),
        _octets(parts[3]) if len(parts) == 4 else None,
    )


def _application(der: bytes) -> Application:
    parts = _parts(_octets(der), SEQUENCE, 2)
    if len(parts) != 2:
        raise Malformed(_RULE, "an application's identity has two fields")
    packages = [_parts(part, SEQUENCE, 2) for part in _parts(parts[0], _SET, _MOST_ITEMS)]
    if any(len(fields) != 2 for fields in packages):
        raise Malformed(_RULE, "a package is a name and a version")
    return Application(
        tuple(_text(name) for name, _ in packages),
        tuple(map(_octets, _parts(parts[1], _SET, _MOST_ITEMS))),
    )


def _purposes(der: bytes) -> frozenset[str]:
    return frozenset(_one_of(part, _INTEGER, PURPOSES) for part in _parts(der, _SET, _MOST_ITEMS))


def _null(der: bytes) -> bool:
    if _element(der, _NULL):
        raise Malformed(_RULE, "a NULL has no content")
    return True


def _boolean(der: bytes) -> bool:
    content = _element(der, _BOOLEAN)
    if content not in {b"\x00", b"\xff"}:
        raise Malformed(_RULE, "a BOOLEAN is 00 or ff")
    return content == b"\xff"


def _one_of(der: bytes, tag: int, names: tuple[str, ...]) -> str:
    number = _number(der, tag)
    if number >= len(names):
        raise Malformed(_RULE, f"{number} is none of {', '.join(names)}")
    return names[number]


def _number(der: bytes, tag: int = _INTEGER) -> int:
    octets = _element(der, tag)
    try:
        return unsigned(octets)
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error


def _text(der: bytes) -> str:
    content = _octets(der)
    if len(content) > _LONGEST_TEXT:
        raise Malformed("android-key.too-large", f"a text of {len(content)} octets")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Malformed(_RULE, "a text is not UTF-8") from error


def _octets(der: bytes) -> bytes:
    return _element(der, OCTET_STRING)


def _element(der: bytes, tag: int) -> bytes:
    try:
        return content_of(der, tag)
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error


def _parts(der: bytes, tag: int, most: int) -> list[bytes]:
    """Return the elements of the one list that `der` is."""
    _element(der, tag)
    try:
        found = children(der, most)
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error
    if len(found) > most:
        raise Malformed("android-key.too-many", f"more than {most} elements in a list")
    return found


_READ: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    1: ("purposes", _purposes),
    2: ("algorithm", _number),
    3: ("key_size", _number),
    600: ("all_applications", _null),
    702: ("origin", partial(_one_of, tag=_INTEGER, names=ORIGINS)),
    704: ("root_of_trust", _root_of_trust),
    705: ("os_version", _number),
    706: ("os_patch_level", _number),
    709: ("application", _application),
    718: ("vendor_patch_level", _number),
    719: ("boot_patch_level", _number),
}
