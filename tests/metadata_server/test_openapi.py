"""The OpenAPI document and the server: neither has what the other does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from metadata_server.config import json_schema, read_instances
from metadata_server.server import Server

from ..conftest import Serve
from .commands import REPOSITORY
from .plane import plane

OURS = ("/linklocal/", "/openapi.json", "/healthz")
INSTANCES = read_instances(
    b"""
- id: full
  name: full
  image: {id: i, name: CentOS}
  keys:
    - name: k
      public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr
  nics: [{ipv4: 10.0.0.9, ipv6: "fd00::9", routes: [{network: 10.1.0.0/16, gateway: 10.0.0.1}]}]
  qos: {min: 1, max: 2}
  agency: {name: a}
  vendor_data: {a: b}
  user_data: "#!/bin/sh"
  files: [{path: /a, content: b}]
  tags: {a: b}
- id: bare
""",
    Path("instances.yaml"),
)


async def test_every_route_is_in_the_document_and_no_other(tmp_path: Path) -> None:
    async with plane(tmp_path, []) as control:
        _, document, _ = await control.call("GET", "/openapi.json")
        routes = {
            (route.method, route.resource.canonical)
            for route in control.app.router.routes()
            if route.resource is not None
            and route.resource.canonical.startswith(OURS)
            and route.method != "HEAD"
        }

    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == routes
    assert len(routes) > 20
    for path, operations in document["paths"].items():
        for operation in operations.values():
            places = {
                each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"
            }
            assert places == set(re.findall(r"\{(\w+)\}", path))
    names = [
        o["operationId"] for operations in document["paths"].values() for o in operations.values()
    ]
    assert len(set(names)) == len(names)


async def test_every_call_is_on_its_page_and_no_other(tmp_path: Path) -> None:
    async with plane(tmp_path, []) as control:
        _, document, _ = await control.call("GET", "/openapi.json")

    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    text = "".join(page.read_text() for page in (REPOSITORY / "docs").glob("*.md"))
    told = re.findall(r"^\| `([A-Z]+) (/\S+)` \|", text, re.MULTILINE)
    assert {(method, path) for method, path in told if path.startswith(OURS)} == described


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_every_reference_leads_somewhere_and_every_schema_is_one(tmp_path: Path) -> None:
    async with plane(tmp_path, []) as control:
        _, document, _ = await control.call("GET", "/openapi.json")

    schemas = document["components"]["schemas"]
    assert {each.removeprefix("#/components/schemas/") for each in references(document)} == set(
        schemas
    )
    for schema in schemas.values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


async def test_requests_are_described_as_the_configuration_is(tmp_path: Path) -> None:
    async with plane(tmp_path, []) as control:
        _, document, _ = await control.call("GET", "/openapi.json")

    configured = json_schema()["properties"]["instances"]["items"]["properties"]
    described = document["components"]["schemas"]["Instance"]["properties"]
    assert set(described) == set(configured) - {"user_data_file"}
    assert "credentials_command" not in json.dumps(described)
    assert "content_file" not in json.dumps(described)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/linklocal/v1/instances", None),
        ("/linklocal/v1/instances/full", "InstanceView"),
        ("/linklocal/v1/instances/bare", "InstanceView"),
        ("/linklocal/v1/instances/full/configuration", "Instance"),
        ("/linklocal/v1/instances/full/metadata-options", "MetadataOptions"),
        ("/linklocal/v1/instances/full/overlay", "Change"),
        ("/linklocal/v1/instances/full/reset-password", None),
        ("/linklocal/v1/instances/full/boot-report", "BootReport"),
        ("/linklocal/v1/state", "State"),
        ("/linklocal/v1/clock", "Clock"),
        ("/linklocal/v1/events", None),
        ("/linklocal/v1/faults", None),
        ("/linklocal/v1/scenarios", None),
        ("/linklocal/v1/journal", None),
        ("/linklocal/v1/token-readiness", None),
        ("/linklocal/v1/journal?token=maybe", "Problem"),
        ("/linklocal/v1/instances/nope", "Problem"),
        ("/linklocal/v1/instances?limit=x", "Problem"),
    ],
)
async def test_answers_are_as_described(tmp_path: Path, path: str, schema: str | None) -> None:
    async with plane(tmp_path, INSTANCES) as control:
        _, document, _ = await control.call("GET", "/openapi.json")
        full = "/linklocal/v1/instances/full"
        await control.call("PATCH", full, {"name": "other"})
        await control.call("POST", full + "/reset-password", {"password": "Cloud.1234!"})
        await control.mailbox.post("full", b"YQ==")
        every = {"all": True}
        await control.call("POST", "/linklocal/v1/events", {**every, "spot": {"tell_in": 9}})
        await control.call("POST", "/linklocal/v1/events", {**every, "maintenance": {}})
        fault = {"delay": 1, "jitter": 1, "every": 2, "probability": 0.5, "for": 60}
        await control.call("POST", "/linklocal/v1/faults", {**every, "fault": fault})
        text = "steps: [{at: 9, all: true, reset: true}]"
        await control.call("POST", "/linklocal/v1/scenarios", {"file": "x", "text": text})
        status, answer, _ = await control.call("GET", path)

    wanted = document["paths"].get(path.replace("full", "{id}"), {}).get("get", {})
    expected = {"$ref": f"#/components/schemas/{schema}"}
    if schema is None:
        expected = wanted["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema_rs.validate({**expected, "components": document["components"]}, answer)
    assert status in (200, 400, 404)


HOOKS = """
import random
import schemathesis

IDS = {ids}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    # Mostly instances that there are: behind a 404 nothing is tried.
    if path_parameters and "id" in path_parameters and random.random() < 0.8:
        path_parameters["id"] = random.choice(IDS)
    return path_parameters


@schemathesis.hook
def before_call(context, case, kwargs):
    # What is waited for does not come.
    try:
        wait = float((case.query or {{}}).get("wait", 0))
    except (TypeError, ValueError):
        return
    if 0 < wait <= 60:
        case.query["wait"] = 0.01
"""

SETTINGS = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 409, 412, 413, 422]
"""

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
    "ignored_auth",
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_running_server_is_as_described(serve: Serve, tmp_path: Path) -> None:
    ids = [f"known-{number}" for number in range(5)]
    server: Server = serve(*({"id": each} for each in ids))
    (tmp_path / "hooks.py").write_text(HOOKS.format(ids=ids))
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)

    ran = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("--config-file", "schemathesis.toml", "run", "--no-color"),
            *("--header", f"Authorization: Bearer {server.token}"),
            *("--header", f"X-Auth-Token: {server.token}"),
            *("--checks", ",".join(CHECKS), "--max-examples", "60"),
            *("--phases", "coverage,fuzzing,stateful", "--request-timeout", "30"),
            f"{server.control_url}/openapi.json",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    cases = re.search(r"(\d+) generated", ran.stdout)
    assert cases is not None, ran.stdout[-2000:]
    assert int(cases[1]) > 5000
