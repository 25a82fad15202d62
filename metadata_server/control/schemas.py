"""The documents of the native API as JSON schemas; requests are made of the configuration's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..config_instance import INSTANCE, METADATA_OPTIONS
from ..day.actions import EVENTS
from ..day.faults import KINDS
from ..day.forms import EVENT_ASKED, FAULT_ASKED
from ..reset.hashing import SCHEMES

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
TRUTH: Final[Schema] = {"type": "boolean"}
WHOLE: Final[Schema] = {"type": "integer"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
ANYTHING: Final[Schema] = {"type": "object"}
NAMES: Final[Schema] = {"type": "array", "items": TEXT}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}

HOST_ONLY: Final = ("_file", "credentials_command")
"""Ends of keys that only the configuration may have: they read files or run programs there."""


def reference(name: str) -> Schema:
    """Return the schema called *name* in COMPONENTS."""
    return {"$ref": f"#/components/schemas/{name}"}


def table(**properties: Schema) -> Schema:
    """Return an object that has all of *properties* and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _given(schema: Mapping[str, Any], *, patch: bool) -> Schema:
    """Return a section of the configuration as the API takes it: null is absent, or taken away."""
    found = dict(schema)
    if "items" in found:
        found["items"] = _given(found["items"], patch=False)
    if isinstance(found.get("additionalProperties"), dict):
        free = _given(found["additionalProperties"], patch=patch)
        found["additionalProperties"] = optional(free) if patch else free
    if "properties" in found:
        found["properties"] = {
            name: optional(_given(each, patch=patch))
            for name, each in found["properties"].items()
            if not name.endswith(HOST_ONLY)
        }
    if patch:
        found.pop("required", None)
    return found


def _instance() -> Schema:
    found = _given(INSTANCE.schema(), patch=False)
    # The server makes one when it is absent.
    del found["required"]
    return found


SUMMARY: Final = table(
    id=TEXT,
    name=TEXT,
    hostname=TEXT,
    project_id=TEXT,
    os_type=TEXT,
    flavor=TEXT,
    addresses=NAMES,
    tags=TEXTS,
    reset=table(enrolment=TEXT),
)

ENROLMENT: Final[Schema] = {
    "type": "object",
    "properties": {
        "enrolment": {"enum": ["never", "legacy", "enrolled", "conflict"]},
        "identity": TEXT,
        "candidate": optional(TEXT),
        "schemes": NAMES,
        "first": TIME,
        "last": TIME,
    },
    "required": ["enrolment"],
    "additionalProperties": False,
}

SIZE: Final = optional(table(size=WHOLE))

VIEW: Final = table(
    id=TEXT,
    name=TEXT,
    hostname=TEXT,
    revision=WHOLE,
    changed_by_api=optional({"enum": ["created", "patched", "replaced"]}),
    project_id=TEXT,
    enterprise_project_id=TEXT,
    region=TEXT,
    availability_zone=TEXT,
    flavor=TEXT,
    image=optional(table(id=TEXT, name=TEXT)),
    vpc_id=optional(TEXT),
    os_type=TEXT,
    launch_index=WHOLE,
    login_mode=TEXT,
    auto_terminate_time=optional(TIME),
    meta=TEXTS,
    tags=TEXTS,
    keys=many(table(name=TEXT, public_key=TEXT)),
    security_groups=NAMES,
    nics=many(ANYTHING),
    dns=NAMES,
    qos=optional(table(min=WHOLE, max=WHOLE)),
    agency=optional(table(name=TEXT)),
    user_data=SIZE,
    vendor_data=SIZE,
    vendor_data2=SIZE,
    files=many(table(path=TEXT, size=WHOLE)),
    extra=NAMES,
    ec2_ids=TEXTS,
    block_devices=TEXTS,
    metadata_options=reference("MetadataOptions"),
    identify=table(addresses=NAMES, interface=optional(TEXT), default=TRUTH),
    reset_password=ANYTHING,
    password_posted=TRUTH,
    reset=reference("Enrolment"),
)

REQUEST: Final = table(
    id=TEXT,
    instance=TEXT,
    user=TEXT,
    state=TEXT,
    code=optional(TEXT),
    scheme=TEXT,
    apply=TEXT,
    unlock=TRUTH,
    expire=TRUTH,
    restart=TRUTH,
    created=TIME,
    expires=TIME,
    delivered=optional(TIME),
    finished=optional(TIME),
    identity=optional(TEXT),
    enrolment=TEXT,
)

ASKED: Final[Schema] = {
    "type": "object",
    "description": "Either `password`, which the server hashes, or `hash`.",
    "properties": {
        "user": optional({"type": "string", "minLength": 1, "maxLength": 32}),
        "password": optional({"type": "string", "minLength": 1}),
        "hash": optional({"type": "string", "description": "crypt(3) hash"}),
        "scheme": optional({"enum": list(SCHEMES)}),
        "apply": optional({"enum": ["boot", "live", "both"]}),
        "unlock": optional(TRUTH),
        "expire": optional(TRUTH),
        "restart": optional(TRUTH),
        "replace": optional(TRUTH),
        "dry_run": optional(TRUTH),
    },
    "additionalProperties": False,
}

ASKED_OF_MANY: Final[Schema] = {
    **ASKED,
    "description": "One of `password`, `hash` and `passwords`.",
    "properties": {
        **ASKED["properties"],
        "instances": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 500},
        "passwords": {
            "type": "object",
            "additionalProperties": {"type": "string", "minLength": 1},
            "description": "A password for each instance, by its id.",
        },
    },
    "required": ["instances"],
}

PROBLEM: Final[Schema] = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "errors": many(table(pointer=TEXT, detail=TEXT)),
    },
    "required": ["type", "title", "status", "detail"],
}

CHANGE: Final = table(
    kind={
        "enum": ["patch", "whole", "gone"],
        "description": "patch: over the configured instance; whole: an instance by itself;"
        " gone: a configured instance that was removed",
    },
    document=ANYTHING,
    created={"type": "number"},
    changed={"type": "number"},
)

STATE: Final[Schema] = {
    "type": "object",
    "properties": {
        "linklocal_state": {"const": 1},
        "overlay": {"type": "object", "additionalProperties": reference("Change")},
        "mailbox": {
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "what the guest has posted as its password",
            },
        },
    },
    "required": ["linklocal_state", "overlay"],
    "additionalProperties": False,
}

SECONDS: Final[Schema] = {
    "anyOf": [{"type": "number", "minimum": 0}, TEXT],
    "description": "seconds, or a length of time such as `90s`, `5m` or `1h30m`",
}
MOMENT: Final[Schema] = {
    "anyOf": [{"type": "number", "minimum": 0}, TIME],
    "description": "a time with its zone, or seconds since 1970",
}
CLOCK: Final = table(now=TIME, seconds={"type": "number"}, stepped=TRUTH)
CLOCK_MOVED: Final[Schema] = {
    "type": "object",
    "description": "Either `step`, by how much, or `to`, the time that it will be.",
    "properties": {"step": SECONDS, "to": MOMENT},
    "additionalProperties": False,
}
TROUBLE: Final = table(place=TEXT, result=TEXT, detail=TEXT, status=optional(WHOLE))
TROUBLE["description"] = "What was not done as asked; `status` is a command's exit status."

BOOT_REPORT: Final = table(
    instance=TEXT,
    number={"type": "integer", "description": "how many reports there were, this one included"},
    received=optional(TIME),
    report=optional(
        table(
            schema={"const": 1},
            instance_id=TEXT,
            status={"enum": ["done", "failed"]},
            degraded=TRUTH,
            detail=TEXT,
            seconds={"type": "number"},
            troubles=many(TROUBLE),
            more_troubles=WHOLE,
        )
    ),
)

NUMBER: Final[Schema] = {"type": "number"}

EVENT: Final[Schema] = {
    "type": "object",
    "description": "`told` says whether the guest knows of it yet.",
    "properties": {
        "id": TEXT,
        "instance": TEXT,
        "kind": {"enum": list(EVENTS)},
        "told": TRUTH,
        "at": TIME,
        "tell_at": TIME,
        "action": TEXT,
        "state": TEXT,
        "code": TEXT,
        "description": TEXT,
        "not_after": TIME,
        "deadline": TIME,
    },
    "required": ["id", "instance", "kind", "told"],
    "additionalProperties": False,
}
FAULT_VIEW: Final[Schema] = {
    "type": "object",
    "description": "What was asked for, how many requests it could have met, and how many it has.",
    "properties": {
        "id": TEXT,
        "instance": TEXT,
        "kind": {"enum": list(KINDS)},
        "path": TEXT,
        "seconds": NUMBER,
        "jitter": NUMBER,
        "status": WHOLE,
        "bytes": WHOLE,
        "rate": WHOLE,
        "first": WHOLE,
        "every": WHOLE,
        "probability": NUMBER,
        "seed": WHOLE,
        "until": TIME,
        "concerned": WHOLE,
        "met": WHOLE,
    },
    "required": ["id", "instance", "kind", "path", "concerned", "met"],
    "additionalProperties": False,
}
RUN: Final = table(
    id=TEXT,
    name=TEXT,
    state={"enum": ["running", "done", "failed", "stopped"]},
    speed=NUMBER,
    steps=WHOLE,
    done=WHOLE,
    began=TIME,
    ended=optional(TIME),
    failures=NAMES,
)
ENTRY: Final[Schema] = {
    "type": "object",
    "description": "A request of a guest, or what was done to one: `what`, with its `facts`.",
    "properties": {
        "number": WHOLE,
        "time": TIME,
        "kind": {"enum": ["request", "event", "fault", "scenario", "change"]},
        "instance": optional(TEXT),
        "address": TEXT,
        "method": TEXT,
        "path": TEXT,
        "token": {"enum": ["none", "good", "bad", ""]},
        "agent": TEXT,
        "status": WHOLE,
        "fault": optional(TEXT),
        "what": TEXT,
        "facts": ANYTHING,
    },
    "required": ["number", "time", "kind", "instance"],
    "additionalProperties": False,
}
READINESS: Final = table(
    instance=TEXT,
    ready=optional(TRUTH),
    clients=many(
        table(
            agent=TEXT,
            ready=TRUTH,
            with_token=WHOLE,
            without_token=WHOLE,
            last_without=optional(TIME),
        )
    ),
)

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Instance": _instance(),
    "InstancePatch": _given(INSTANCE.schema(), patch=True),
    "Summary": SUMMARY,
    "InstanceView": VIEW,
    "MetadataOptions": table(**METADATA_OPTIONS.schema()["properties"]),
    "MetadataOptionsPatch": _given(METADATA_OPTIONS.schema(), patch=True),
    "Enrolment": ENROLMENT,
    "ResetRequest": REQUEST,
    "ResetAsked": ASKED,
    "ResetsAsked": ASKED_OF_MANY,
    "BootReport": BOOT_REPORT,
    "Change": CHANGE,
    "State": STATE,
    "Clock": CLOCK,
    "Event": EVENT,
    "EventAsked": _given(EVENT_ASKED.schema(), patch=False),
    "Fault": FAULT_VIEW,
    "FaultAsked": _given(FAULT_ASKED.schema(), patch=False),
    "Run": RUN,
    "Entry": ENTRY,
    "Readiness": READINESS,
    "ClockMoved": CLOCK_MOVED,
    "Problem": PROBLEM,
}
