"""Configuration with every default, in the form that operators write and the loader reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pydantic import BaseModel


def effective(model: BaseModel) -> dict[str, Any]:
    """Return a model in JSON's types; what is not set is left out."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def as_yaml(value: dict[str, Any]) -> str:
    """Return `effective`'s result as a file."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text
