"""Reads all that a metadata service says to this guest, but for what is made to be secret.

Credentials, mailboxes and the password reset are never asked for: asking has effects there.
Standard library only, because it runs in guests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import chain
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, urlsplit

from ..errors import ServerError

TIMEOUT: Final = 10.0
LARGEST: Final = 16 << 20
MOST_REQUESTS: Final = 20_000
"""More than any cloud needs: a service that has no end is none."""
TTL: Final = "600"

EC2_VERSIONS: Final = ("latest", "2009-04-04", "2021-03-23")
"""Those that clients ask for by name; the others have nothing that these have not."""

DOCUMENTS: Final = (
    "meta_data.json",
    "user_data",
    "vendor_data.json",
    "vendor_data2.json",
    "network_data.json",
)

NEVER_ASKED: Final = re.compile(
    r"/openstack/[^/]+/(password|securitykey|resetpwd_flag|reset_password|spot/.*)"
    r"|/[^/]+/meta-data/(iam/security-credentials/.+|identity-credentials/.*"
    r"|spot/.*|events/.*|autoscaling/.*|managed-ssh-keys/.*)"
)
"""Credentials, mailboxes, and what is only true at this moment."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class CaptureError(ServerError):
    """The service does not answer as a metadata service does."""


@dataclass
class Captured:
    """What a service answered: bodies by path; a role's name is known without its credentials."""

    answers: dict[str, bytes] = field(default_factory=dict)
    role: str | None = None
    tokens_required: bool = False


class Service:
    """One connection to the service at *url*, with a session token if it gives any."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        try:
            port = split.port
        except ValueError:
            port = -1
        if split.scheme != "http" or not split.hostname or port == -1 or split.path.strip("/"):
            raise CaptureError(f"{url}: expected http://ADDRESS[:PORT]")
        self._url = url
        self._connection = HTTPConnection(split.hostname, port, timeout=TIMEOUT)
        self._token: Mapping[str, str] = _NOTHING
        self._left = MOST_REQUESTS

    def close(self) -> None:
        self._connection.close()

    def start(self) -> bool:
        """Get a session token, of whichever family there is; say whether nothing goes without."""
        without = self.ask("GET", "/latest/meta-data/")[0], self.ask("GET", "/openstack")[0]
        for path, name in (
            ("/latest/api/token", "X-aws-ec2-metadata-token"),
            ("/meta-data/latest/api/token", "X-Metadata-Token"),
        ):
            header = f"{name}-ttl-seconds"
            status, body = self.ask("PUT", path, {header: TTL, "Content-Length": "0"})
            if status == 200 and body.strip():
                self._token = {name: body.decode("latin-1").strip()}
                break
        return 401 in without and 200 not in without

    def get(self, path: str) -> bytes | None:
        """Return the body at *path*, None when there is none; raises CaptureError."""
        status, body = self.ask("GET", path, self._token)
        if status == 200:
            return body
        if status in (401, 403):
            raise CaptureError(f"{self._url}{path}: status {status}, with any token it gives")
        if status >= 500:
            raise CaptureError(f"{self._url}{path}: status {status}")
        return None

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] = _NOTHING
    ) -> tuple[int, bytes]:
        self._left -= 1
        if self._left < 0:
            raise CaptureError(f"{self._url}: has no end; is this a metadata service?")
        try:
            self._connection.request(
                method, quote(path, safe="/:=@,+~"), headers={"Accept": "*/*", **headers}
            )
            answer = self._connection.getresponse()
            body = answer.read(LARGEST + 1)
        except (OSError, HTTPException) as error:
            raise CaptureError(f"{self._url}{path}: {error or type(error).__name__}") from error
        if len(body) > LARGEST:
            raise CaptureError(f"{self._url}{path}: expected at most {LARGEST} bytes")
        return answer.status, body


def walk(url: str) -> Captured:
    """Return all that the service at *url* says; raises CaptureError when that is nothing."""
    with closing(Service(url)) as service:
        return _walk(service)


def _walk(service: Service) -> Captured:
    found = Captured(tokens_required=service.start())
    for path in chain(_openstack(service, found), _ec2(service, found)):
        if path not in found.answers and (body := service.get(path)) is not None:
            found.answers[path] = body
    if not found.answers:
        raise CaptureError("no path of OpenStack or EC2 metadata is there")
    return found


def _openstack(service: Service, found: Captured) -> Iterator[str]:
    contents: list[str] = []
    for version in _lines(service.get("/openstack")):
        listed = _lines(service.get(f"/openstack/{version}/"))
        for name in dict.fromkeys((*listed, *(DOCUMENTS if listed else ()))):
            path = f"/openstack/{version}/{name}"
            if name.endswith("/") or NEVER_ASKED.fullmatch(path):
                continue
            yield path
            if name == "meta_data.json":
                contents += _content_paths(found.answers.get(path))
    yield from dict.fromkeys(contents)


def _content_paths(body: bytes | None) -> list[str]:
    """Return where the injected files of a meta_data.json are."""
    try:
        document = json.loads(body or b"{}")
        listed = [*document.get("files", ()), document.get("network_config") or {}]
        paths = [each["content_path"] for each in listed if "content_path" in each]
    except (ValueError, TypeError, AttributeError):
        return []
    return [f"/openstack{path}" for path in paths if isinstance(path, str)]


def _ec2(service: Service, found: Captured) -> Iterator[str]:
    known = _lines(service.get("/"))
    for version in EC2_VERSIONS:
        if version in known or version == "latest":
            yield f"/{version}/user-data"
            for below in ("meta-data", "dynamic"):
                yield from _below(service, f"/{version}/{below}/", found)


def _below(service: Service, directory: str, found: Captured, depth: int = 12) -> Iterator[str]:
    """Yield every leaf below *directory*, whose path ends with a slash."""
    if depth == 0:
        raise CaptureError(f"{directory}: too deep; is this a metadata service?")
    for line in _lines(service.get(directory)):
        number, is_label, _ = line.partition("=")
        path = directory + (f"{number}/" if is_label else line)
        if directory.endswith("/iam/security-credentials/"):
            found.role = line
        if NEVER_ASKED.fullmatch(path):
            continue
        if is_label:
            # The name of a key is only here.
            found.answers.setdefault(directory, service.get(directory) or b"")
        if path.endswith("/"):
            yield from _below(service, path, found, depth - 1)
        else:
            yield path


def _lines(body: bytes | None) -> list[str]:
    text = (body or b"").decode("utf-8", "replace")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("<")]
