"""What a datasource is, and the session that carries its tokens."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from ..errors import DatasourceError
from ..instance import InstanceData
from ..report import Report
from ..secret import Secret
from .client import Client, document


class Reader(Protocol):
    """Reads one document of a tree, from a service or a disk."""

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none."""
        ...


class Datasource(Protocol):
    """A place that may describe this instance."""

    @property
    def name(self) -> str:
        """Its name, as in `--datasource`."""
        ...

    def fetch(self, reader: Reader, report: Report) -> InstanceData | None:
        """Return the instance's data, or None when the datasource is not here after all.

        Raises DatasourceError when it is here and its answer is unusable. What can be done
        without (vendor data, network data) is a failure in *report* instead.
        """
        ...


class Tokens(NamedTuple):
    """One family of session tokens."""

    path: str
    header: str


EC2_TOKENS = Tokens("latest/api/token", "X-aws-ec2-metadata-token")
HUAWEI_TOKENS = Tokens("meta-data/latest/api/token", "X-Metadata-Token")
SECONDS = Secret(b"21600")
LONGEST_TOKEN = 4096
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def checked_id(found: str, where: str) -> str:
    """Return *found* when it has an instance id's form; whatever else answered was no metadata.

    A web server may answer everything with a page, and the id becomes a directory's name.
    """
    if _ID.fullmatch(found) and ".." not in found:
        return found
    what = "a page of HTML" if found.startswith("<") else "something else"
    raise DatasourceError(
        f"{where}: is not a metadata service: expected an instance id of letters, digits and "
        f"-._:, got {what}"
    )


class Session:
    """Reads through *client* with a session token: at once when *eager*, else after a 401."""

    def __init__(self, client: Client, families: tuple[Tokens, ...], *, eager: bool) -> None:
        self.client = client
        self._families = families
        self._eager = eager
        self._headers: dict[str, Secret] = {}

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none (404)."""
        if self._eager:
            self._eager = False
            self._open()
        response = self.client.request("GET", path, self._headers)
        if response.status == 401 and self._open():
            response = self.client.request("GET", path, self._headers)
        return document(response, f"GET {self.client.base_url}/{path}")

    def put(self, path: str, content: bytes) -> None:
        """PUT *content*, JSON, to *path*; DatasourceError when it is not taken."""
        media = {"Content-Type": Secret(b"application/json")}
        response = self.client.request("PUT", path, {**self._headers, **media}, content)
        if response.status == 401 and self._open():
            response = self.client.request("PUT", path, {**self._headers, **media}, content)
        if not 200 <= response.status < 300:
            raise DatasourceError(f"PUT {self.client.base_url}/{path}: status {response.status}")

    def _open(self) -> bool:
        """Get a token, of the first family that the service knows; False when it knows none."""
        self._headers = {}
        for family in self._families:
            response = self.client.request(
                "PUT", family.path, {f"{family.header}-Ttl-Seconds": SECONDS}
            )
            # So says a service without tokens; the documents are then asked for without one.
            if response.status in (403, 404, 405):
                continue
            what = f"PUT {self.client.base_url}/{family.path}"
            token = (document(response, what) or b"").strip()
            if not token or len(token) > LONGEST_TOKEN or not all(32 < c < 127 for c in token):
                raise DatasourceError(f"{what}: expected a session token, got something else")
            self._headers = {family.header: Secret(token)}
            return True
        return False
