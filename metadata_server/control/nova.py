"""The part of nova's compute API that concerns metadata and passwords, for unmodified clients."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from ..errors import BadRequest, NotFound, RequestError
from ..instance import Instance, Key
from .audit import note
from .body import read_body
from .creation import from_nova
from .server_view import page, server_view, short_view
from .servers import Servers, check_for, project_of, shown_meta, wanted_password

PREFIXES: Final = ("/v2.1", "/v2", "/v1")
OPEN: Final = frozenset({"/", *(prefix + end for prefix in ("/v2.1", "/v2") for end in ("", "/"))})
"""Which versions there are is said to anyone: clients ask it before they have a token."""

NEWEST: Final = (2, 96)
OLDEST: Final = (2, 1)
LONGEST_PAGE: Final = 1000
_VERSION_HEADERS: Final = ("OpenStack-API-Version", "X-OpenStack-Nova-API-Version")


class NotAcceptable(RequestError):
    status = 406


class Nova:
    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def routes(self) -> list[web.RouteDef]:
        found = [web.get("/", list_versions)]
        for prefix in ("/v2.1", "/v2"):
            found += [web.get(prefix, show_version), web.get(prefix + "/", show_version)]
        for prefix in PREFIXES:
            for base in (prefix, prefix + "/{project}"):
                found += self._routes(base)
        return found

    def _routes(self, base: str) -> list[web.RouteDef]:
        one = base + "/servers/{id}"
        return [
            web.get(base + "/servers", self.list_servers),
            web.post(base + "/servers", self.create_server),
            web.get(base + "/servers/detail", self.list_details),
            web.get(one, self.show_server),
            web.delete(one, self.delete_server),
            web.post(one + "/action", self.act),
            web.get(one + "/os-server-password", self.posted_password),
            web.delete(one + "/os-server-password", self.forget_password),
            web.get(one + "/metadata", self.show_meta),
            web.post(one + "/metadata", self.update_meta),
            web.put(one + "/metadata", self.replace_meta),
            web.get(one + "/metadata/{key}", self.show_meta_item),
            web.put(one + "/metadata/{key}", self.set_meta_item),
            web.delete(one + "/metadata/{key}", self.delete_meta_item),
            web.get(base + "/os-keypairs", self.list_keypairs),
            web.get(base + "/os-keypairs/{key}", self.show_keypair),
        ]

    async def list_servers(self, request: web.Request) -> web.Response:
        return await self._list(request, details=False)

    async def list_details(self, request: web.Request) -> web.Response:
        return await self._list(request, details=True)

    async def show_server(self, request: web.Request) -> web.Response:
        return _answer(request, {"server": self._view(request, self._servers.at(request))})

    async def create_server(self, request: web.Request) -> web.Response:
        project = project_of(request)
        body = await read_body(request)
        known, now = await self._servers.all(None), self._servers.overlay.now()
        order = from_nova(body.table("server"), project, known, now)
        hash = None
        if order.password is not None:
            hash = await self._servers.hashed(order.password, order.os_type)
        made = await self._servers.create(order.documents(hash, pattern="{}-{}"))
        first = short_view(made[0], _base(request))
        groups = [{"name": name} for name in made[0].security_groups]
        shown = {"id": first["id"], "links": first["links"], "OS-DCF:diskConfig": "MANUAL"}
        return _answer(request, {"server": {**shown, "security_groups": groups}}, status=202)

    async def delete_server(self, request: web.Request) -> web.Response:
        await self._servers.remove([self._servers.at(request)])
        return _answer(request, status=204)

    async def act(self, request: web.Request) -> web.Response:
        """Change the password; there is no machine here for anything else to be done to."""
        instance = self._servers.at(request)
        body = await read_body(request)
        if not body.has("changePassword"):
            names = ", ".join(sorted(body.keys()))[:100]
            raise BadRequest(f"There is no such action: {names}; expected changePassword")
        password = wanted_password(body.table("changePassword"), "adminPass")
        note(action="changePassword")
        check_for(password, instance.os_type)
        await self._servers.reset(instance, self._servers.new_password(password), "both")
        return _answer(request, status=202)

    async def posted_password(self, request: web.Request) -> web.Response:
        posted = self._servers.posted_password(self._servers.at(request))
        return _answer(request, {"password": posted})

    async def forget_password(self, request: web.Request) -> web.Response:
        await self._servers.forget_password(self._servers.at(request))
        return _answer(request, status=204)

    async def show_meta(self, request: web.Request) -> web.Response:
        return _answer(request, {"metadata": shown_meta(self._servers.at(request))})

    async def update_meta(self, request: web.Request) -> web.Response:
        instance = self._servers.at(request)
        given = await _texts(request, "metadata")
        return _answer(request, {"metadata": await self._servers.update_meta(instance, given)})

    async def replace_meta(self, request: web.Request) -> web.Response:
        instance = self._servers.at(request)
        given = await _texts(request, "metadata")
        return _answer(request, {"metadata": await self._servers.replace_meta(instance, given)})

    async def show_meta_item(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        found = shown_meta(self._servers.at(request))
        if key not in found:
            raise NotFound("Metadata item was not found")
        return _answer(request, {"meta": {key: found[key]}})

    async def set_meta_item(self, request: web.Request) -> web.Response:
        instance, key = self._servers.at(request), request.match_info["key"]
        given = await _texts(request, "meta")
        if [*given] != [key]:
            raise BadRequest("meta: expected the one key that is in the path")
        found = await self._servers.update_meta(instance, given)
        return _answer(request, {"meta": {key: found[key]}})

    async def delete_meta_item(self, request: web.Request) -> web.Response:
        await self._servers.delete_meta(self._servers.at(request), request.match_info["key"])
        return _answer(request, status=204)

    async def list_keypairs(self, request: web.Request) -> web.Response:
        found = [{"keypair": _keypair(key)} for key in (await self._keys(request)).values()]
        return _answer(request, {"keypairs": found})

    async def show_keypair(self, request: web.Request) -> web.Response:
        key = (await self._keys(request)).get(request.match_info["key"])
        if key is None:
            raise NotFound(f"Keypair {request.match_info['key'][:255]} not found")
        return _answer(request, {"keypair": _keypair(key)})

    async def _keys(self, request: web.Request) -> dict[str, Key]:
        """Return the key pairs of the project's instances by name; the first of a name counts."""
        found: dict[str, Key] = {}
        for instance in await self._servers.all(project_of(request), lambda each: bool(each.keys)):
            for key in instance.keys:
                found.setdefault(key.name, key)
        return found

    def _view(self, request: web.Request, instance: Instance) -> dict[str, Any]:
        return server_view(instance, self._servers.overlay.times(instance.id), _base(request))

    async def _list(self, request: web.Request, *, details: bool) -> web.Response:
        query = request.query
        project = None if _true(query.get("all_tenants")) else project_of(request)
        project = query.get("project_id") or query.get("tenant_id") or project
        found = await self._servers.all(project, lambda each: _wanted(each, query))
        shown, marker = page(request, found, _limit(request))
        base = _base(request)
        body: dict[str, Any] = {
            "servers": [
                self._view(request, each) if details else short_view(each, base) for each in shown
            ]
        }
        if marker:
            url = str(request.url.update_query(marker=marker))
            body["servers_links"] = [{"rel": "next", "href": url}]
        return _answer(request, body)


async def list_versions(request: web.Request) -> web.Response:
    return web.json_response({"versions": [_version(request, name) for name in ("v2.0", "v2.1")]})


async def show_version(request: web.Request) -> web.Response:
    name = "v2.1" if request.path.startswith("/v2.1") else "v2.0"
    return web.json_response({"version": _version(request, name)})


def _version(request: web.Request, name: str) -> dict[str, Any]:
    current = name == "v2.1"
    path = "/v2.1/" if current else "/v2/"
    return {
        "id": name,
        "status": "CURRENT" if current else "SUPPORTED",
        "version": _spelled(NEWEST) if current else "",
        "min_version": _spelled(OLDEST) if current else "",
        "updated": "2013-07-23T11:33:21Z" if current else "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": f"{request.scheme}://{request.host}{path}"}],
        "media-types": [],
    }


def _base(request: web.Request) -> str:
    """Return the URL before `/servers` or `/os-keypairs`."""
    path = re.split(r"/(?:servers|cloudservers)(?:/|$)", request.path, maxsplit=1)[0]
    return f"{request.scheme}://{request.host}{path}"


def _answer(request: web.Request, body: object = None, *, status: int = 200) -> web.Response:
    """Return *body* as JSON, or nothing, in the version of the API that was asked for."""
    asked = _asked_version(request)
    headers = {
        "OpenStack-API-Version": f"compute {asked}",
        "X-OpenStack-Nova-API-Version": asked,
        "Vary": ", ".join(_VERSION_HEADERS),
    }
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.json_response(body, status=status, headers=headers)


def _asked_version(request: web.Request) -> str:
    """Return the microversion asked for; what is shown here is the same in all of them."""
    text = request.headers.get("X-OpenStack-Nova-API-Version", "")
    for part in request.headers.get("OpenStack-API-Version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service == "compute":
            text = version
    if not text or text == "latest":
        return _spelled(NEWEST if text else OLDEST)
    found = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,4})", text)
    if found is None:
        raise BadRequest("OpenStack-API-Version: expected a version such as 2.1")
    if not OLDEST <= (int(found[1]), int(found[2])) <= NEWEST:
        raise NotAcceptable(
            f"Version {text} is not supported by the API. Minimum is {_spelled(OLDEST)} and maximum"
            f" is {_spelled(NEWEST)}."
        )
    return text


def _spelled(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


async def _texts(request: web.Request, key: str) -> dict[str, str]:
    body = await read_body(request)
    if not body.has(key):
        body.refuse(key, "expected an object of strings")
    found = body.texts(key)
    body.check()
    return found


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "")
    if text and (not text.isascii() or not text.isdigit()):
        raise BadRequest("limit: expected a whole number")
    return min(int(text[:9]), LONGEST_PAGE) if text else LONGEST_PAGE


def _wanted(instance: Instance, query: Mapping[str, str]) -> bool:
    addresses = [str(a) for nic in instance.nics for a in (nic.ipv4, nic.ipv6, nic.public_ipv4)]
    tests: Mapping[str, Callable[[str], bool]] = {
        "name": lambda text: text.strip("^$") in instance.name,
        "status": lambda text: text.upper() == "ACTIVE",
        "ip": lambda text: any(address.startswith(text.strip("^$")) for address in addresses),
        "flavor": lambda text: text == instance.flavor,
        "image": lambda text: instance.image is not None and text == instance.image.id,
        "uuid": lambda text: text == instance.id,
    }
    return all(test(query[key]) for key, test in tests.items() if query.get(key))


def _true(text: str | None) -> bool:
    return text is not None and text.lower() in ("1", "true", "t", "yes", "on", "")


def _keypair(key: Key) -> dict[str, Any]:
    try:
        blob = base64.b64decode(key.public_key.split()[1])
    except (IndexError, binascii.Error):
        # The configuration takes no such key; an instance made otherwise is shown all the same.
        blob = key.public_key.encode()
    # The fingerprint's form is nova's; nothing is decided by it.
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return {
        "name": key.name,
        "type": "ssh",
        "public_key": key.public_key,
        "fingerprint": ":".join(digest[at : at + 2] for at in range(0, 32, 2)),
    }
