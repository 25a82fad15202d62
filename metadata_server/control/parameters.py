"""What calls of the native API have in common: paths, parameters, and what statuses mean."""

from __future__ import annotations

from typing import Final

from ..batch import MOST
from .openapi import refused
from .replays import HEADER
from .routes import Answer, Parameter
from .schemas import reference

BASE: Final = "/linklocal/v1"
ALL: Final = BASE + "/instances"
ONE: Final = ALL + "/{id}"
PAGE: Final = 1000

ID: Final = Parameter("id", "Id of the instance.", "path")
LIMIT: Final = Parameter(
    "limit",
    f"Most instances on the page; default: {PAGE}.",
    schema={"type": "integer", "minimum": 1, "maximum": PAGE},
)
MARKER: Final = Parameter("marker", "Id of the last instance of the page before.")
NAME: Final = Parameter("name", "Only names like this; `*` is any text, `?` any character.")
TAG: Final = Parameter(
    "tag", "Only instances with the tag `KEY`, or `KEY=VALUE`; repeatable.", repeated=True
)
COUNT: Final = Parameter(
    "count",
    "How many to make of one description; names follow the rule in `name`, addresses count up.",
    schema={"type": "integer", "minimum": 1, "maximum": MOST},
)
SAME_NAME: Final = Parameter(
    "same_name", "Give all of them the same name.", schema={"type": "boolean"}
)
FORCE: Final = Parameter(
    "force",
    "Change user data too, which is fixed once the instance exists.",
    schema={"type": "boolean"},
)
KEY: Final = Parameter(HEADER, "Sent again with the same key, the call is done once.", "header")
IF_MATCH: Final = Parameter("If-Match", "Only when this is the ETag still.", "header")
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match", "Only when this is not the ETag any more.", "header"
)

VIEWED: Final = Answer("The instance.", reference("InstanceView"), ("ETag",))
GONE: Final = refused(404, "There is no such instance.")
CONFLICT: Final = refused(409, "It does not fit what is there, or user data would change.")
CHANGED: Final = refused(412, "Somebody else has changed it.")
SAME: Final = {304: Answer("The reader has it already.")}
