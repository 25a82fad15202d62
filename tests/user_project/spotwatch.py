"""A pretend user's library: a small client of instance metadata, as many projects have one."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

ATTEMPTS = 3
TTL = "21600"


class MetadataError(Exception):
    pass


class Metadata:
    """Asks the service at *url*: with a session token, again after an error, never for too long."""

    def __init__(self, url: str, *, deadline: float = 10.0) -> None:
        self.url = url
        self.deadline = deadline
        self._token: str | None = None

    def get(self, path: str) -> str | None:
        """Return what is at *path*, None when there is nothing."""
        for _ in range(ATTEMPTS):
            try:
                return self._ask("GET", path, {"X-aws-ec2-metadata-token": self._session()})
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return None
                if error.code == 401:
                    self._token = None
            except (OSError, HTTPException):
                continue
        raise MetadataError(f"{path}: gave up after {ATTEMPTS} attempts")

    def notice(self) -> dict[str, Any] | None:
        """Return what happens to this spot instance, None as long as nothing does."""
        text = self.get("/latest/meta-data/spot/instance-action")
        return None if text is None else json.loads(text)

    def _session(self) -> str:
        if self._token is None:
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": TTL}
            self._token = self._ask("PUT", "/latest/api/token", ttl)
        return self._token

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        end = time.monotonic() + self.deadline
        request = urllib.request.Request(self.url + path, headers=headers, method=method)  # noqa: S310  # http, by who makes it
        body = b""
        with urllib.request.urlopen(request, timeout=self.deadline) as answer:  # noqa: S310  # as above
            wanted = int(answer.headers["Content-Length"])
            while len(body) < wanted:
                if time.monotonic() > end:
                    raise TimeoutError(path)
                if not (more := answer.read1(65536)):
                    raise ConnectionError(f"{path}: {len(body)} bytes of {wanted}")
                body += more
        return body.decode()


def drained(metadata: Metadata, work: list[str]) -> list[str]:
    """Return the work that is still to be done: nothing, once the instance is to end."""
    return [] if metadata.notice() else work
