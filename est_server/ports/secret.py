"""Secrets are named, never written: ``file:secrets/ca.pass`` or ``env:CA_PASSPHRASE``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_KINDS = ("file", "env")


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is; it is read when it is needed and shown nowhere.

    Attributes:
        kind: file or env.
        name: path or variable.
    """

    kind: Literal["file", "env"]
    name: str

    @property
    def reference(self) -> str:
        """The form in the configuration; it gives nothing away."""
        return f"{self.kind}:{self.name}"

    def path(self, base: Path) -> Path | None:
        """Return the file, relative to `base`; None for a variable."""
        return base / self.name if self.kind == "file" else None

    def read(self, base: Path) -> bytes:
        """Return the secret without its final newline.

        Args:
            base: where relative paths start.

        Raises:
            OSError: the file can't be read, or the variable is not set.
        """
        if self.kind == "env":
            value = os.environ.get(self.name)
            if value is None:
                raise FileNotFoundError(2, "no such environment variable", self.name)
            return value.encode()
        return (base / self.name).read_bytes().rstrip(b"\r\n")

    @classmethod
    def parse(cls, value: Any) -> Secret:
        """Read the form of the configuration.

        Raises:
            ValueError: it is no reference; its text does not repeat what may be a secret.
        """
        if isinstance(value, cls):
            return value
        kind, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if not colon or not name or kind not in _KINDS:
            raise ValueError(
                "not a reference: write file:PATH or env:NAME, never the secret itself"
            )
        return cls("file" if kind == "file" else "env", name)

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
        return {
            "type": "string",
            "pattern": "^(file|env):.+$",
            "examples": ["file:secrets/ca.pass"],
        }

    def __str__(self) -> str:
        return self.reference
