"""The platform's own calls for its elastic cloud servers, for its unmodified SDKs."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from ..errors import BadRequest, NotFound, RequestError
from ..instance import Instance
from ..reset.asking import ask_many
from ..secret import Secret
from .audit import note
from .body import Body, read_body
from .creation import END, MOST_AT_ONCE, from_ecs, read_end
from .server_view import moment, page, server_view
from .servers import Servers, check_for, project_of, wanted_password

PREFIXES: Final = ("/v1", "/v1.1", "/v2", "/v2.1")
PAGE: Final = 25
LONGEST_PAGE: Final = 1000
JOBS_KEPT: Final = 1000
NOT_SERVERS: Final = frozenset(
    {"flavors", "flavor-sell-policies", "limits", "os-server-groups", "resize_flavors", "tags"}
)
"""Calls of the platform that are not here, whose names are where a server's id is."""


class Huawei:
    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._jobs: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        found = []
        for prefix in PREFIXES:
            for base in (prefix, prefix + "/{project}"):
                found += self._routes(base)
        return found

    def _routes(self, base: str) -> list[web.RouteDef]:
        many = base + "/cloudservers"
        one = many + "/{id}"
        found = [
            web.post(many, self.create),
            web.get(many + "/detail", self.list_details),
            web.post(many + "/delete", self.delete),
            web.put(many + "/os-reset-passwords", self.reset_passwords),
            web.get(one, self.show),
            web.post(one + "/metadata", self.update_meta),
            web.delete(one + "/metadata/{key}", self.delete_meta),
            web.get(one + "/metadata-options", self.show_options),
            web.put(one + "/metadata-options", self.update_options),
            web.post(one + "/actions/update-auto-terminate-time", self.set_end),
            web.get(base + "/jobs/{job}", self.show_job),
        ]
        for each in (one, base + "/servers/{id}"):
            found += [
                web.put(each + "/os-reset-password", self.reset_password),
                web.get(each + "/os-resetpwd-flag", self.reset_flag),
            ]
        found += [
            web.get(one + "/os-server-password", self.posted_password),
            web.delete(one + "/os-server-password", self.forget_password),
        ]
        return found

    async def reset_password(self, request: web.Request) -> web.Response:
        """Ask for the password; as the platform has it, it is there after the next start."""
        instance = self._servers.at(request)
        option = (await read_body(request)).table("reset-password")
        password = wanted_password(option, "new_password")
        checked = option.flag("is_check_password") or not option.has("is_check_password")
        option.check()
        if checked:
            check_for(password, instance.os_type)
        await self._servers.reset(instance, self._servers.new_password(password), "boot")
        return web.Response(status=204)

    async def reset_passwords(self, request: web.Request) -> web.Response:
        """Ask for one password on several servers; the answer names those that were asked.

        Nobody is asked when a server is not known or the password is not good for one of them.
        """
        body = await read_body(request)
        password = wanted_password(body, "new_password")
        dry = body.flag("dry_run")
        instances = self._named(request, body)
        for os_type in {each.os_type for each in instances}:
            check_for(password, os_type)
        note(servers=",".join(each.id for each in instances), dry_run=dry or None)
        asked = instances if dry else await self._ask(instances, password)
        return web.json_response({"response": [{"id": each.id} for each in asked]})

    async def reset_flag(self, request: web.Request) -> web.Response:
        """Say whether the guest can have its password reset: whether it ever showed its daemon."""
        enrolled = self._servers.enrolled(self._servers.at(request))
        return web.json_response({"resetpwd_flag": str(enrolled)})

    async def posted_password(self, request: web.Request) -> web.Response:
        posted = self._servers.posted_password(self._servers.at(request))
        return web.json_response({"password": posted})

    async def forget_password(self, request: web.Request) -> web.Response:
        await self._servers.forget_password(self._servers.at(request))
        return web.Response(status=204)

    async def update_meta(self, request: web.Request) -> web.Response:
        instance = self._servers.at(request)
        body = await read_body(request)
        given = body.texts("metadata")
        body.check()
        return web.json_response({"metadata": await self._servers.update_meta(instance, given)})

    async def delete_meta(self, request: web.Request) -> web.Response:
        await self._servers.delete_meta(self._servers.at(request), request.match_info["key"])
        return web.Response(status=204)

    async def show_options(self, request: web.Request) -> web.Response:
        options = self._servers.at(request).metadata_options
        return web.json_response(
            {"http_endpoint": options.http_endpoint, "http_tokens": options.http_tokens}
        )

    async def update_options(self, request: web.Request) -> web.Response:
        instance = self._servers.at(request)
        body = await read_body(request)
        old = instance.metadata_options
        given = {
            "http_endpoint": body.choice(
                "http_endpoint", ("enabled", "disabled"), old.http_endpoint
            ),
            "http_tokens": body.choice("http_tokens", ("optional", "required"), old.http_tokens),
        }
        body.finish()
        given = {key: value for key, value in given.items() if body.has(key)}
        note(**given)
        await self._servers.overlay.set(instance.id, {"metadata_options": given})
        return web.Response(status=204)

    async def show(self, request: web.Request) -> web.Response:
        if request.match_info["id"] in NOT_SERVERS:
            raise web.HTTPNotFound
        return web.json_response({"server": self._view(request, self._servers.at(request))})

    async def list_details(self, request: web.Request) -> web.Response:
        found = await self._servers.all(
            project_of(request),
            lambda each: (
                not request.query or _wanted(each, request.query, self._view(request, each))
            ),
        )
        limit = _number(request, "limit", PAGE, most=LONGEST_PAGE)
        start = (_number(request, "offset", 1, most=1_000_000_000) - 1) * limit
        shown, marker = page(request, found[max(start, 0) :], limit)
        body: dict[str, Any] = {
            "count": len(found),
            "servers": [self._view(request, each) for each in shown],
        }
        if request.path.startswith("/v1.1/"):
            links = []
            if marker:
                url = str(request.url.update_query(marker=marker))
                links = [{"rel": "next", "href": url}]
            body = {"servers": body["servers"], "servers_links": links}
        return web.json_response(body)

    async def create(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        dry = body.flag("dry_run")
        known, now = await self._servers.all(None), self._servers.overlay.now()
        order = from_ecs(body.table("server"), project_of(request), known, now)
        hash = None
        if order.password is not None:
            hash = await self._servers.hashed(order.password, order.os_type)
        documents = order.documents(hash, pattern="{}-{:04d}")
        if dry:
            self._servers.overlay.check(documents)
            return web.Response(status=202)
        made = await self._servers.create(documents)
        ids = [each.id for each in made]
        return web.json_response({"job_id": self._done("createServer", ids), "serverIds": ids})

    async def delete(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        # Volumes and public addresses, which may go with a server, are not kept here.
        instances = self._named(request, body)
        await self._servers.remove(instances)
        return web.json_response(
            {"job_id": self._done("deleteServer", [each.id for each in instances])}
        )

    async def show_job(self, request: web.Request) -> web.Response:
        job = self._jobs.get(request.match_info["job"])
        if job is None:
            raise NotFound(f"no such job: {request.match_info['job'][:64]!r}")
        return web.json_response(job)

    async def set_end(self, request: web.Request) -> web.Response:
        """Have the instance removed at a time; an empty one takes that back."""
        instance = self._servers.at(request)
        body = await read_body(request)
        if not body.has(END):
            body.refuse(END, "expected a time, or an empty string for never")
        end = None if body.peek(END) == "" else read_end(body, self._servers.overlay.now())
        body.check()
        note(end=end or "never")
        await self._servers.overlay.set(instance.id, {END: end})
        return web.Response(status=204)

    def _named(self, request: web.Request, body: Body) -> list[Instance]:
        """Return the instances of the body's `servers`, each once."""
        named = [each.text("id") or "" for each in body.tables("servers")]
        if not 0 < len(named) <= MOST_AT_ONCE:
            body.refuse("servers", f"expected 1 to {MOST_AT_ONCE} servers")
        body.check()
        project = project_of(request)
        return [self._servers.known(each, project) for each in dict.fromkeys(named)]

    async def _ask(self, instances: Sequence[Instance], password: Secret) -> list[Instance]:
        new = self._servers.new_password(password)
        outcomes = await ask_many(instances, lambda each: self._servers.reset(each, new, "boot"))
        refused = [each for each in outcomes if isinstance(each, RequestError)]
        if len(refused) == len(instances):
            raise refused[-1]
        return [
            each
            for each, outcome in zip(instances, outcomes, strict=True)
            if not isinstance(outcome, RequestError)
        ]

    def _view(self, request: web.Request, instance: Instance) -> dict[str, Any]:
        base = f"{request.scheme}://{request.host}/v2.1/{instance.project_id}"
        return server_view(instance, self._servers.overlay.times(instance.id), base)

    def _done(self, kind: str, ids: Sequence[str]) -> str:
        """Keep what is told of a job that was at its end when it was begun; return its id."""
        now = moment(time.time())
        state = {"status": "SUCCESS", "begin_time": now, "end_time": now}
        parts = [
            {**state, "job_id": uuid.uuid4().hex, "job_type": kind, "entities": {"server_id": each}}
            for each in ids
        ]
        job_id = uuid.uuid4().hex
        self._jobs[job_id] = {
            **state,
            "job_id": job_id,
            "job_type": kind,
            "entities": {"sub_jobs_total": len(parts), "sub_jobs": parts},
        }
        while len(self._jobs) > JOBS_KEPT:
            self._jobs.popitem(last=False)
        return job_id


def _wanted(instance: Instance, query: Mapping[str, str], view: Mapping[str, Any]) -> bool:
    addresses = [
        str(each) for nic in instance.nics for each in (nic.ipv4, nic.ipv6, nic.public_ipv4)
    ]
    tests: Mapping[str, Callable[[str], bool]] = {
        "name": lambda text: text in instance.name,
        "id": lambda text: text == instance.id,
        "server_id": lambda text: instance.id in text.split(","),
        "status": lambda text: text.upper() == "ACTIVE",
        "ip": lambda text: any(text in address for address in addresses),
        "ip_eq": lambda text: text in addresses,
        "flavor": lambda text: text in instance.flavor,
        "flavor_name": lambda text: text == instance.flavor,
        "enterprise_project_id": lambda text: (
            text in ("all_granted_eps", instance.enterprise_project_id)
        ),
        "availability_zone": lambda text: text in instance.availability_zone,
        "availability_zone_eq": lambda text: text == instance.availability_zone,
        "key_name": lambda text: text in [key.name for key in instance.keys],
        "tags": lambda text: set(text.split(",")) <= {*view["tags"], *instance.tags},
        "not-tags": lambda text: not set(text.split(",")) & {*view["tags"], *instance.tags},
    }
    return all(test(query[key]) for key, test in tests.items() if query.get(key))


def _number(request: web.Request, key: str, default: int, *, most: int) -> int:
    text = request.query.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not int(text[:12]) <= most:
        raise BadRequest(f"{key}: expected a whole number of at most {most}")
    return int(text)
