"""Parsed YAML to typed records, with the place in every error: the one reader of all sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .report import Report


def load(schema: Any, raw: Mapping[str, Any], report: Report, at: str = "") -> Any:
    """Return *raw* as the NamedTuple *schema*; what is wrong is left out and named in *report*.

    Raises ConfigError when a required key of *schema* itself is missing.
    """
    raise NotImplementedError


def keys(schema: Any) -> tuple[str, ...]:
    """Return the keys *schema* accepts, in its order."""
    raise NotImplementedError
