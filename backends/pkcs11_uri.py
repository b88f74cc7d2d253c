"""PKCS #11 URIs (RFC 7512): which module, which token, which key.

    pk11-URI   = "pkcs11:" pk11-path [ "?" pk11-query ]
    pk11-path  = [ pk11-pattr *(";" pk11-pattr) ]      pk11-pattr = name "=" *pk11-pchar
    pk11-query = [ pk11-qattr *("&" pk11-qattr) ]      pk11-qattr = name "=" *pk11-qchar

Read strictly: an attribute that comes twice (2.3) or that is not used here is an error, since
passing over it could mean another token's key. `pin-value` is refused: secrets are named, never
written; so is a `pin-source` that is no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from pydantic_core import core_schema

from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_LONGEST = 4096
_UNRESERVED = r"A-Za-z0-9._~\-"
_PATH_VALUE = re.compile(rf"(?:[{_UNRESERVED}:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{{2}})*")
_QUERY_VALUE = re.compile(rf"(?:[{_UNRESERVED}:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{{2}})*")
_SLOT = re.compile(r"0|[1-9][0-9]{0,19}")
_PATH = ("token", "serial", "manufacturer", "model", "slot-id", "object", "id", "type")
_QUERY = ("module-path", "pin-source")
_PIN_FILE = re.compile(r"file:(?://)?(/.+|[^/|].*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A URI, taken apart; None where it says nothing.

    Attributes:
        module_path: the library that speaks for the token.
        token: its label.
        serial: its serial number.
        manufacturer: who made it.
        model: of it.
        slot_id: where it is; many modules number slots anew at each start.
        object: label of the key (CKA_LABEL).
        id: of the key (CKA_ID).
        pin_source: where the PIN is.
    """

    module_path: str
    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    slot_id: int | None = None
    object: str | None = None
    id: bytes | None = None
    pin_source: Secret | None = None

    @classmethod
    def parse(cls, value: Any) -> Pkcs11Uri:
        """Read the form of the configuration.

        Raises:
            ValueError: it is no URI that can be used here; the text does not repeat a PIN.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or not value.startswith("pkcs11:") or len(value) > _LONGEST:
            raise ValueError("not a PKCS #11 URI like pkcs11:token=ca;object=issuing?module-path=…")
        path, _, query = value.removeprefix("pkcs11:").partition("?")
        found = _attributes(path, ";", _PATH, _PATH_VALUE)
        found |= _attributes(query, "&", _QUERY, _QUERY_VALUE)
        if found.pop("type", b"private") != b"private":
            raise ValueError("the key that signs has type=private, or leave type out")
        key_id, pin_source = found.pop("id", None), found.pop("pin-source", None)
        texts = {name: _text(name, octets) for name, octets in found.items()}
        if not texts.get("module-path", "").startswith("/"):
            raise ValueError("say which library: ?module-path=/usr/lib/…/lib….so")
        slot = texts.pop("slot-id", None)
        if slot is not None and not _SLOT.fullmatch(slot):
            raise ValueError("slot-id is no number")
        if slot is None and not {"token", "serial", "manufacturer", "model"} & set(texts):
            raise ValueError("say which token: token=LABEL or serial=NUMBER")
        return cls(
            module_path=texts.pop("module-path"),
            slot_id=None if slot is None else int(slot),
            id=key_id,
            pin_source=None if pin_source is None else _pin(_text("pin-source", pin_source)),
            **texts,
        )

    @property
    def names_key(self) -> bool:
        """Whether it says which key, not only which token."""
        return self.object is not None or self.id is not None

    def __str__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        path = [
            f"{name}={quote(_octets(values[name.replace('-', '_')]), safe='')}"
            for name in _PATH
            if values.get(name.replace("-", "_")) is not None
        ]
        text = f"pkcs11:{';'.join(path)}?module-path={quote(self.module_path)}"
        if self.pin_source is not None:
            text += f"&pin-source={quote(self.pin_source.reference)}"
        return text

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Tell pydantic how to read one."""
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell editors what one looks like."""
        example = "pkcs11:token=ca;object=issuing?module-path=/usr/lib/softhsm/libsofthsm2.so"
        return {"type": "string", "pattern": "^pkcs11:", "examples": [example]}


def _attributes(
    text: str, between: str, known: tuple[str, ...], value: re.Pattern[str]
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(between) if text else ():
        name, equals, raw = part.partition("=")
        if name == "pin-value":
            raise ValueError("a PIN is named, never written: pin: file:PATH or env:NAME")
        if name not in known:
            raise ValueError(f"known attributes: {', '.join((*_PATH, *_QUERY))}")
        if name in found:
            raise ValueError(f"{name} comes twice")
        if not equals or not value.fullmatch(raw):
            raise ValueError(f"{name}: write octets that have a meaning in a URI as %XX")
        found[name] = unquote_to_bytes(raw)
        if not found[name]:
            raise ValueError(f"{name} is empty")
    return found


def _text(name: str, octets: bytes) -> str:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no UTF-8") from None
    if not text.isprintable():
        raise ValueError(f"{name} has characters that can't be shown")
    return text


def _pin(source: str) -> Secret:
    match = _PIN_FILE.fullmatch(source)
    if match is None:
        raise ValueError("pin-source must be a file: pin-source=file:/run/secrets/pin")
    return Secret("file", match[1])


def _octets(value: str | int | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
