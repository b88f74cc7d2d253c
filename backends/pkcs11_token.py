"""A token, as the signing process sees it: one session, one key (PKCS #11 2.40).

Only that process loads python-pkcs11 and the module behind it. The binding is not safe with
threads, and a module may hang or crash: it does so beside the server, not in it.
"""

from __future__ import annotations

import atexit
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pkcs11
from asn1crypto import algos, core
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag
from pkcs11.attributes import AttributeMapper
from pkcs11.mechanisms import MGF
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key

from backends.pkcs11_messages import Failed, Opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.pkcs11_messages import Opening

_CURVES = {"EC-P256": "secp256r1", "EC-P384": "secp384r1"}
_HASHES = {
    "sha256": (Mechanism.SHA256, MGF.SHA256, 32),
    "sha384": (Mechanism.SHA384, MGF.SHA384, 48),
}


class _OnlyWhatIsNeeded(AttributeMapper):
    """Templates that say nothing of uses that a CA's key has not: a TPM has no other answer."""

    def public_key_template(
        self, *, id_: Any, label: Any, store: Any, **_: Any
    ) -> dict[Attribute, Any]:
        return {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.ID: id_,
            Attribute.LABEL: label,
            Attribute.TOKEN: store,
            Attribute.VERIFY: True,
        }

    def private_key_template(
        self, *, id_: Any, label: Any, store: Any, **_: Any
    ) -> dict[Attribute, Any]:
        return {
            Attribute.CLASS: ObjectClass.PRIVATE_KEY,
            Attribute.ID: id_,
            Attribute.LABEL: label,
            Attribute.TOKEN: store,
            Attribute.PRIVATE: True,
            Attribute.SIGN: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
        }


class TokenError(Exception):
    """Something is wrong with the token or with what was asked of it."""

    def __init__(self, message: str, hint: str, *, pin_refused: bool = False) -> None:
        super().__init__(message)
        self.failed = Failed(message, hint, pin_refused)


def open_token(opening: Opening) -> tuple[Opened, Callable[[bytes], bytes]]:
    """Return what was opened, and what signs digests with its key.

    Raises:
        TokenError: with what to do next.
        PKCS11Error: anything else; the return value of the module is its name.
    """
    token = _find_token(opening)
    session = _login(token, opening)
    named = f"{token.label!r} ({token.manufacturer_id} {token.model})"
    if opening.generate is not None:
        _generate(session, opening, named)
    key = _find_key(session, opening, named, ObjectClass.PRIVATE_KEY)
    if key is None:
        raise TokenError(
            f"token {named} has no private key {_key_name(opening)}",
            "list what it has: pkcs11-tool --login --list-objects; then correct object= or id= "
            "in `key`",
        )
    public = _find_key(session, opening, named, ObjectClass.PUBLIC_KEY)
    return Opened(named, None if public is None else _spki(public).hex()), _signing(key, opening)


def _find_token(opening: Opening) -> Any:
    try:
        module = pkcs11.lib(opening.module_path)
    except pkcs11.PKCS11Error as error:
        raise TokenError(
            f"{opening.module_path} can't be loaded: {_why(error)}",
            "install the token's PKCS #11 library, or correct module-path= in `key`",
        ) from error
    atexit.register(_leave, module)
    present, found = [], []
    for slot in module.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except pkcs11.PKCS11Error:
            continue  # it went away since, or is none that the module knows
        if TokenFlag.TOKEN_INITIALIZED not in token.flags:
            continue
        present.append(token.label)
        facts = {
            "token": token.label,
            "serial": token.serial.decode("utf-8", "replace").strip(),
            "manufacturer": token.manufacturer_id,
            "model": token.model,
            "slot_id": slot.slot_id,
        }
        if all(facts[name] == wanted for name, wanted in opening.token.items()):
            found.append(token)
    wanted = ";".join(f"{name}={value}" for name, value in opening.token.items())
    if not found:
        there = ", ".join(repr(label) for label in present) or "none"
        raise TokenError(
            f"no token {wanted} is there (tokens that are: {there})",
            "plug it in, start its service, or correct token= in `key`; "
            "pkcs11-tool --list-token-slots shows what the module sees",
        )
    if len(found) > 1:
        raise TokenError(
            f"{len(found)} tokens are {wanted}", "add serial= to `key`, so that it names one"
        )
    return found[0]


def _leave(module: Any) -> None:
    """Say goodbye, so that a token frees what it kept for this process."""
    with suppress(pkcs11.PKCS11Error):
        module.finalize()


def _login(token: Any, opening: Opening) -> Any:
    flags = token.flags
    if TokenFlag.USER_PIN_LOCKED in flags:
        text = f"the PIN of token {token.label!r} is locked"
        raise TokenError(text, "unlock it as its security officer")
    if TokenFlag.USER_PIN_FINAL_TRY in flags:
        # the right PIN would do no harm, a wrong one would end every key in the token
        raise TokenError(
            f"token {token.label!r} allows one more PIN only, and that one is left to you",
            "log in by hand with the right PIN, which resets its count: pkcs11-tool --login",
        )
    pin = opening.pin if TokenFlag.LOGIN_REQUIRED in flags else None
    try:
        return token.open(
            rw=opening.generate is not None, user_pin=pin, attribute_mapper=_OnlyWhatIsNeeded()
        )
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
        raise TokenError(
            f"token {token.label!r} refused the PIN",
            "correct what `pin` names; it is not tried again until it is another",
            pin_refused=True,
        ) from error
    except (pkcs11.PinLocked, pkcs11.PinExpired) as error:
        raise TokenError(
            f"the PIN of token {token.label!r} can't be used: {_why(error)}",
            "its security officer has to set a new one",
            pin_refused=True,
        ) from error


def _find_key(session: Any, opening: Opening, named: str, kind: ObjectClass) -> Any:
    wanted: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if opening.object is not None:
        wanted[Attribute.LABEL] = opening.object
    if opening.id is not None:
        wanted[Attribute.ID] = bytes.fromhex(opening.id)
    found = list(session.get_objects(wanted))
    if len(found) > 1 and kind == ObjectClass.PRIVATE_KEY:
        raise TokenError(
            f"token {named} has {len(found)} private keys {_key_name(opening)}",
            "add id= to `key`, so that it names one",
        )
    return found[0] if found else None


def _key_name(opening: Opening) -> str:
    parts = (("object", opening.object), ("id", opening.id))
    return ";".join(f"{name}={value}" for name, value in parts if value is not None)


def _generate(session: Any, opening: Opening, named: str) -> None:
    """Make a key pair that never leaves the token."""
    if next(iter(session.get_objects({Attribute.LABEL: opening.object})), None) is not None:
        raise TokenError(
            f"token {named} has an object {opening.object!r} already",
            "nothing was changed; name another, or remove it: pkcs11-tool --delete-object",
        )
    algorithm = opening.generate or ""
    how: dict[str, Any] = {
        "id": bytes.fromhex(opening.id) if opening.id else secrets.token_bytes(8),
        "label": opening.object,
        "store": opening.lasting,
    }
    try:
        if algorithm in _CURVES:
            parameters = session.create_domain_parameters(
                KeyType.EC,
                {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])},
                local=True,
            )
            public, private = parameters.generate_keypair(**how)
        else:
            bits = int(algorithm.removeprefix("RSA-"))
            public, private = session.generate_keypair(KeyType.RSA, bits, **how)
    except pkcs11.PKCS11Error as error:
        raise TokenError(
            f"token {named} made no {algorithm} key: {_why(error)}",
            "its manual says which keys it makes; try another --key",
        ) from error
    if private[Attribute.EXTRACTABLE] or not private[Attribute.SENSITIVE]:
        private.destroy()
        public.destroy()
        text = f"token {named} makes keys that can leave it"
        raise TokenError(text, "it is no place for a CA's key; the key was removed")


def _spki(public: Any) -> bytes:
    encode = encode_rsa_public_key if public.key_type == KeyType.RSA else encode_ec_public_key
    made = encode(public)
    if public.key_type != KeyType.RSA:
        return bytes(made)
    # RFC 8017 A.1.1: the binding returns the RSAPublicKey alone
    from asn1crypto import keys  # noqa: PLC0415 - only RSA keys need it

    return bytes(keys.PublicKeyInfo.wrap(keys.RSAPublicKey.load(made), "rsa").dump())


def _signing(key: Any, opening: Opening) -> Callable[[bytes], bytes]:
    if key.key_type == KeyType.EC:
        return lambda digest: _ecdsa(key.sign(digest, mechanism=Mechanism.ECDSA))
    if key.key_type != KeyType.RSA:
        raise TokenError("the key is neither EC nor RSA", "name another in `key`")
    if opening.padding == "PSS":
        parameters = _HASHES[opening.hash]
        return lambda digest: bytes(
            key.sign(digest, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters)
        )
    return lambda digest: bytes(
        key.sign(_digest_info(opening.hash, digest), mechanism=Mechanism.RSA_PKCS)
    )


def _ecdsa(signature: bytes) -> bytes:
    """Return the DER of what PKCS #11 gives as r and s side by side."""
    half = len(signature) // 2
    numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    return encode_dss_signature(*numbers)


def _digest_info(name: str, digest: bytes) -> bytes:
    """Return the DigestInfo of RFC 8017 9.2, which CKM_RSA_PKCS pads and signs."""
    algorithm = algos.DigestAlgorithm({"algorithm": name, "parameters": core.Null()})
    info = algos.DigestInfo({"digest_algorithm": algorithm, "digest": digest})
    return bytes(info.dump())


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
