"""The guests' listener: whose request it is, whether it may ask, and what is at its path.

For aiohttp's low-level server. Every refusal is a RequestError and is answered in one place.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import ceil
from typing import Any, Final, Protocol

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from . import ec2, huawei, openstack
from .access_log import AccessLogger
from .boot_reports import LIMIT as REPORT_LIMIT
from .boot_reports import BootReports
from .connections import GuestServer, Registry, Side, closes
from .day.asked import noted
from .day.cells import Cells
from .day.journal import LONGEST, Recorder
from .day.spoilt import Broken, Spoiler
from .errors import (
    BadRequest,
    Forbidden,
    NotFound,
    RequestError,
    RequestTimeout,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from .events import Events
from .identify import NOTHING_HERE, Caller, Hosts, Lookup, Proxy, asks_for_itself, identify
from .identity import Identity
from .instance import Instance
from .issuer import Issuer
from .mailbox import LIMIT, Mailbox
from .metrics import Counters
from .notices import served
from .paths import (
    BOOT_REPORT,
    EC2_TOKEN,
    HUAWEI_TOKEN,
    PLATFORM_RESET,
    RESET,
    ROOTS,
    VERSIONS,
    Names,
    read_path,
)
from .rates import STRANGERS_REMEMBERED, Rates, place
from .rendered import Answer, Rendered
from .replies import GuestRequest, Reply, closing, refusal, start
from .store import Store
from .tokens import EC2, HUAWEI, REQUIRED, TOKEN_HEADERS, Family, Tokens, read_ttl
from .tree import TEXT, Live
from .vendor_data import DynamicData

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SEED_SIZE: Final = 512
BODY_SECONDS: Final = 10.0

READ: Final = "GET, HEAD"
_CLOSE: Final = b"Connection: close\r\n"
_HERE: Final = Answer(200, VERSIONS.encode(), TEXT)

_EC2_HEADER: Final = EC2.token_header.lower()
_HUAWEI_HEADER: Final = HUAWEI.token_header.lower()


class Catalog(Lookup, Protocol):
    def revision(self, instance_id: str) -> int: ...


class ResetSide(Protocol):
    """What answers below the path of sealed resets, with its own proofs and its own refusals."""

    async def handle(
        self, request: web.BaseRequest, instance: Instance, rest: str
    ) -> web.StreamResponse: ...

    async def handle_platform(
        self, request: web.BaseRequest, instance: Instance, name: str
    ) -> web.StreamResponse: ...


class Guests:
    """Answers guests; one object for all listeners."""

    def __init__(
        self,
        catalog: Catalog,
        tokens: Tokens,
        store: Store,
        engine: ResetSide | None,
        events: Events,
        *,
        reports: BootReports | None = None,
        launched: Callable[[str], int | None] = lambda _: None,
        hosts: tuple[str, ...] = (),
        proxy: Proxy | None = None,
        rate: int | None = None,
        strangers: int | None = None,
        vendor_data: DynamicData | None = None,
        registry: Registry | None = None,
        counters: Counters | None = None,
        catch_up: Callable[[], None] | None = None,
        recorder: Recorder | None = None,
        spoiler: Spoiler | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Serve what *catalog* knows; *store* was made with the mailbox's schema.

        Without *reports* those of boots are another process's to take.
        *launched* tells when an instance was made, in seconds since 1970. *rate* is the most
        requests a second of one instance, *strangers* of one place that is nobody's. *catch_up* is
        called before each request, to know all that was known elsewhere before it. Requests are
        noted by *recorder*; *spoiler* knows the faults.
        """
        self._catalog = catalog
        self._tokens = tokens
        self._engine = engine
        self._events = events
        self._reports = reports
        self._launched = launched
        self._proxy = proxy
        self._now = now
        self._hosts = Hosts(hosts)
        self._vendor_data = vendor_data or DynamicData({})
        self._rates = Rates(rate) if rate is not None else None
        self._strangers = (
            Rates(strangers, remembered=STRANGERS_REMEMBERED) if strangers is not None else None
        )
        self._registry = Registry() if registry is None else registry
        self._counters = Counters(("guests",)) if counters is None else counters
        self._catch_up = catch_up
        self._recorder = recorder
        self._spoiler = Spoiler(Cells(), now) if spoiler is None else spoiler
        self._faults = self._spoiler.known
        self._mailbox = Mailbox(store)
        self._access_key = store.key("access-keys")
        self._issuer = Issuer(now=now)
        identity = Identity(store)
        self._rendered = Rendered(lambda node: identity.sign(node.form, node.document))

    def server(
        self,
        interface: str | None = None,
        *,
        number: int = 0,
        access_log: logging.Logger | None = None,
        passing: socket.socket | None = None,
    ) -> GuestServer:
        """Return the server of one listener, *interface* being the one that it is bound to.

        *number* is its place among the listeners that the counters know; *passing* leads to the
        writer when this is one of its workers.
        """
        return GuestServer(
            partial(self, interface=interface, number=number),
            self._registry,
            Side(
                # What is answered at once is not logged.
                quick=partial(self._quick, interface, number) if access_log is None else None,
                is_known=partial(self._is_known, interface),
                turned_away=partial(self._turned_away, interface, number),
                not_http=partial(closing, NOT_HTTP),
                refused=partial(Reply, NOT_HTTP, close=True),
            ),
            partial(_request, self._registry),
            self._counters,
            number,
            passing,
            access_log=access_log,
            access_log_class=AccessLogger,
            logger=http_log(),
            auto_decompress=False,
        )

    async def __call__(
        self, request: web.BaseRequest, interface: str | None = None, number: int = 0
    ) -> web.StreamResponse:
        """Answer *request*, which came in at the listener *number*, through *interface* if any."""
        try:
            response = await self._answered(request, interface)
        except asyncio.CancelledError:
            self._count(request, number, 0)
            raise
        self._count(request, number, 0 if isinstance(response, Broken) else response.status)
        if response.status == 200 and request.method == "PUT":
            self._counters.token_given(number)
        return response

    def _count(self, request: web.BaseRequest, number: int, status: int) -> None:
        self._counters.answered(number, status)
        if self._recorder is not None:
            self._recorder.note(noted(request, status, self._now(), self._tokens))

    async def _answered(
        self, request: web.BaseRequest, interface: str | None
    ) -> web.StreamResponse:
        connection = self._registry.of(request.protocol)
        if connection is not None:
            connection.begin()
        try:
            return await self._serve(request, interface)
        except TooManyRequests as error:
            if connection is not None:
                connection.hold(error.wait)
            reply = _refuse(request, error.status, str(error))
            return reply.with_header("Retry-After", str(ceil(error.wait)))
        except RequestError as error:
            return _refuse(request, error.status, str(error))
        except ConnectionError:
            raise
        except Exception:
            # The very outside: a fault of ours is logged, and the guest learns only that.
            log.exception("a request failed")
            return _refuse(request, 500, "An unknown error has occurred.")
        finally:
            if connection is not None:
                connection.end()

    def _quick(
        self,
        interface: str | None,
        number: int,
        address: str,
        target: str,
        headers: Mapping[str, str],
    ) -> bytes | None:
        """Return the whole answer to a plain GET, None when it may be anything but that.

        What is refused, or is no text of a tree, goes the long way, which has the last word.
        """
        if self._catch_up is not None:
            self._catch_up()
        if self._proxy is not None and self._proxy.trusts(address):
            return None
        instance = self._catalog.at(address, interface)
        if instance is None or not self._hosts.welcome(headers.get("host", "")):
            return None
        if self._faults and instance.id in self._faults:
            return None
        options = instance.metadata_options
        if options.http_endpoint == "disabled" or instance.reset_password.legacy:
            return None
        revision = self._catalog.revision(instance.id) + self._events.revision(instance.id)
        token = headers.get(_EC2_HEADER)
        if token is None:
            token = headers.get(_HUAWEI_HEADER)
        if token is None:
            if options.http_tokens == "required":
                return None
        elif not self._tokens.is_good(token, instance.id):
            return None
        found = self._rendered.ready(instance, revision, target)
        if found is None:
            found = self._rendered_first(instance, revision, target)
        if found is None or (isinstance(found, Live) and found.kind != "seeded"):
            return None
        if self._rates is not None and self._rates.wait(instance.id):
            return None
        if isinstance(found, Live):
            found = _seeded(found)
        self._counters.answered(number, found.status)
        recorder = self._recorder
        if recorder is not None:
            if not recorder.fresh:
                recorder.arm()
            agent = headers.get("user-agent", "")
            recorder.fresh.append(
                (
                    self._now(),
                    instance.id,
                    address,
                    "GET",
                    target,
                    "none" if token is None else "good",
                    agent if len(agent) <= LONGEST else agent[:LONGEST],
                    found.status,
                    None,
                )
            )
        head = start(found.status, int(time.time()))
        return head + (_CLOSE if closes(headers) else b"") + found.rest

    def _is_known(self, interface: str | None, address: str) -> bool:
        """Say whether requests from *address* are a guest's, or passed on for guests."""
        if self._proxy is not None and self._proxy.trusts(address):
            return True
        return self._catalog.id_at(address, interface) is not None

    def _ends(self, address: str, interface: str | None) -> bool:
        """Say whether a connection from *address* is for one request."""
        if self._proxy is not None and self._proxy.trusts(address):
            # No guest's request is to be taken for the end or the beginning of another's.
            return True
        # How often a stranger asks is looked at where a connection begins.
        return self._catalog.id_at(address, interface) is None

    def _turned_away(self, interface: str | None, number: int, address: str) -> bytes | None:
        """Return the answer to what a stranger asks too often, before anybody reads what it is."""
        if self._strangers is None:
            return None
        if self._catch_up is not None:
            self._catch_up()
        if self._is_known(interface, address):
            return None
        wait = self._strangers.wait(place(address))
        if not wait:
            return None
        self._counters.answered(number, TooManyRequests.status)
        answer = refusal(TooManyRequests.status, "Too many requests.", None)
        return closing(answer.with_header("Retry-After", str(ceil(wait))))

    def _rendered_first(
        self, instance: Instance, revision: int, target: str
    ) -> Answer | Live | None:
        """Return what is at *target* in the trees, where most guests ask once for each path."""
        names = read_path(target) or ()
        if names[:1] == RESET[:1] or names[-2:] == EC2_TOKEN:
            return None
        return self._render(instance, revision, target)

    def _render(self, instance: Instance, revision: int, target: str) -> Answer | Live | None:
        notices = self._events.of(instance.id)
        whole = served(instance, notices, self._launched(instance.id))
        return self._rendered.render(whole, revision, target)

    async def _serve(self, request: web.BaseRequest, interface: str | None) -> web.StreamResponse:
        if self._catch_up is not None:
            self._catch_up()
        headers = request.headers
        if isinstance(request, GuestRequest):
            request.is_last = self._ends(request.remote or "", interface)
        if read_path(request.raw_path) in ROOTS and asks_for_itself(
            self._proxy, request.remote, headers
        ):
            return Reply(_HERE)
        caller = identify(self._catalog, self._proxy, request.remote, interface, headers)
        self._check_host(request)
        instance = caller.instance
        if isinstance(request, GuestRequest):
            request.instance_id = instance.id
            # The platform's reset daemon keeps connections, and a worker passes on fresh ones only.
            request.is_last = request.is_last or instance.reset_password.legacy
        if self._rates is not None and (wait := self._rates.wait(instance.id)):
            raise TooManyRequests("This instance asks too often.", wait)
        if instance.id in self._faults:
            path = "/" + "/".join(read_path(request.raw_path) or ())
            honest = partial(self._found, request, caller)
            return await self._spoiler.answer(request, instance.id, path, honest)
        return await self._found(request, caller)

    async def _found(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """Return what is at the path of *request*, if its caller may have it."""
        instance, target = caller.instance, request.raw_path
        # Both only ever grow, so no two states have the same sum.
        revision = self._catalog.revision(instance.id) + self._events.revision(instance.id)
        found = self._rendered.ready(instance, revision, target)
        if found is None:
            names = read_path(target) or ()
            if names[:3] == RESET and len(names) == 4 and self._engine is not None:
                return await self._engine.handle(request, instance, names[3])
            if (family := _token_family(request.method, names)) is not None:
                return self._token(request, caller, family)
            self._admit(request, instance)
            if names == BOOT_REPORT:
                return await self._boot_report(request, instance)
            legacy = instance.reset_password.legacy
            if legacy and names in PLATFORM_RESET and self._engine is not None:
                return await self._engine.handle_platform(request, instance, names[2])
            found = self._render(instance, revision, target)
            if found is None:
                raise _nothing(names)
        else:
            self._admit(request, instance)
        if isinstance(found, Live):
            return await self._live(request, instance, revision, found)
        if request.method not in ("GET", "HEAD"):
            return _not_allowed(request, READ)
        return Reply(found)

    def _check_host(self, request: web.BaseRequest) -> None:
        """Refuse a request that a name of somebody else's has led here."""
        named = request.headers.getall("Host", ())
        if len(named) > 1:
            raise BadRequest("Expected one Host header.")
        if named and not self._hosts.welcome(named[0]):
            raise Forbidden(STRANGE_HOST)
        if not request.raw_path.startswith("/"):
            authority = request.raw_path.partition("://")[2].partition("/")[0]
            if authority and not self._hosts.welcome(authority):
                raise Forbidden(STRANGE_HOST)

    def _admit(self, request: web.BaseRequest, instance: Instance) -> None:
        """Refuse what the instance's metadata options do not allow, and any token that is bad."""
        _check_enabled(instance)
        for name in TOKEN_HEADERS:
            token = request.headers.get(name)
            if token is not None:
                self._tokens.check(token, instance.id)
                return
        if instance.metadata_options.http_tokens == "required":
            raise Unauthorized(REQUIRED)

    def _token(
        self, request: web.BaseRequest, caller: Caller, family: Family
    ) -> web.StreamResponse:
        """Answer with a fresh token, which no more routers pass on than the instance allows."""
        if request.method != "PUT":
            return _not_allowed(request, "PUT")
        # A request that was forwarded may come from anywhere; a trusted proxy adds one address.
        forwarded = request.headers.getall("X-Forwarded-For", ())
        if forwarded and (not caller.proxied or len(forwarded) > 1 or "," in forwarded[0]):
            raise Forbidden("A session token is not given to a forwarded request.")
        instance = caller.instance
        _check_enabled(instance)
        if caller.proxied and family.default is None and family.ttl_header not in request.headers:
            # Neutron's proxy passes on none of the guest's headers. After a 404, which is nova's
            # answer, SDKs go on without a token; after a 400 they give up.
            raise NotFound(NOTHING_HERE)
        ttl = read_ttl(family, request.headers)
        token = self._tokens.issue(instance.id, ttl)
        _limit_hops(request, instance.metadata_options.hop_limit)
        return Reply(Answer(200, token.encode(), TEXT, {family.ttl_answer: str(ttl)}))

    async def _live(
        self, request: web.BaseRequest, instance: Instance, revision: int, node: Live
    ) -> web.StreamResponse:
        """Answer with what is different each time."""
        if node.kind == "password":
            return await self._password(request, instance)
        if request.method not in ("GET", "HEAD"):
            return _not_allowed(request, READ)
        if node.kind == "seeded":
            return Reply(_seeded(node))
        if node.kind == "vendor":
            body = await self._vendor_data.merged(node.template, instance, revision)
        else:
            body = await self._credentials(instance, node)
        return Reply(Answer(200, body, node.content_type))

    async def _credentials(self, instance: Instance, node: Live) -> bytes:
        agency = instance.agency
        if agency is None or node.kind.startswith("identity"):
            agency = huawei.IDENTITY
        if agency.credentials_command:
            pair = await self._issuer.credentials(instance, agency.credentials_command)
        else:
            pair = huawei.credentials(self._access_key, instance, agency, self._now())
        if node.kind == "securitykey":
            return huawei.security_key(pair)
        if node.kind in ("role", "identity-role"):
            return huawei.role_credentials(pair)
        return node.filled(huawei.ec2_time(pair.begins).encode())

    async def _password(self, request: web.BaseRequest, instance: Instance) -> web.StreamResponse:
        """Give back or take the guest's password; the rules are nova's, down to the words."""
        if request.method == "GET":
            # Text, not nova's HTML: a page in the guest's browser could have posted a script.
            return Reply(Answer(200, self._mailbox.get(instance.id), TEXT))
        if request.method != "POST":
            raise BadRequest("GET and POST only are supported.")
        if "Origin" in request.headers:
            # Only browsers say it, and a page of anybody's may have them post.
            raise Forbidden("A password is not taken of a page in a browser.")
        body = await _read_body(request, LIMIT)
        await self._mailbox.post(instance.id, body)
        return Reply(Answer(200, b"", TEXT))

    async def _boot_report(
        self, request: web.BaseRequest, instance: Instance
    ) -> web.StreamResponse:
        """Take what the guest's agent says of its boot."""
        if request.method != "PUT":
            return _not_allowed(request, "PUT")
        if self._reports is None:
            raise ServiceUnavailable("Expected this request at the beginning of a connection.")
        await self._reports.take(instance.id, await _read_body(request, REPORT_LIMIT))
        return Reply(Answer(200, b"", TEXT))


def http_log() -> logging.Logger:
    """Return the log of the HTTP layer, where what clients do wrong is a short word at most."""
    found = logging.getLogger(f"{__name__}.http")
    found.addFilter(_is_about_us)
    return found


def _is_about_us(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, (ConnectionError, HttpProcessingError)):
        return True
    # Without the bytes that were sent, of which there may be many.
    log.debug("what a client sent is not HTTP, or ends early: %s", type(error).__name__)
    return False


def _request(
    registry: Registry,
    message: Any,
    payload: Any,
    protocol: Any,
    writer: Any,
    task: asyncio.Task[None],
) -> GuestRequest:
    """Make a request of what the connection hands over, whose types are aiohttp's own."""
    try:
        request = GuestRequest(message, payload, protocol, writer, task, task.get_loop())
    except ValueError:
        # aiohttp 3.8 reads an absolute target's port only here, and would let the connection hang.
        message = message._replace(path="*", url=type(message.url)("/"))
        request = GuestRequest(message, payload, protocol, writer, task, task.get_loop())
    request.connection = registry.of(protocol)
    return request


def _seeded(node: Live) -> Answer:
    body = node.filled(base64.b64encode(os.urandom(SEED_SIZE)))
    return Answer(200, body, node.content_type)


def _token_family(method: str, names: Names) -> Family | None:
    """Return whose tokens are asked for at *names*, None when it is another path."""
    if names == HUAWEI_TOKEN:
        return HUAWEI
    if names[:1] == ("ec2",):
        names = names[1:]
    if names[1:] != EC2_TOKEN or names[0] not in ec2.SHAPES:
        return None
    if names[0] == ec2.LATEST:
        return EC2
    if method == "PUT":
        raise Forbidden("Session tokens are given at /latest/api/token.")
    return None


def _nothing(names: Names) -> RequestError:
    head, version, tail = names[:1], "".join(names[1:2]), names[2:]
    if head == ("openstack",) and version in openstack.SHAPES and tail == ("securitykey",):
        return Unauthorized(huawei.NO_AGENCY)
    return NotFound(NOTHING_HERE)


def _check_enabled(instance: Instance) -> None:
    if instance.metadata_options.http_endpoint == "disabled":
        raise Forbidden("The metadata of this instance is switched off.")


def _refuse(request: web.BaseRequest, status: int, explanation: str) -> Reply:
    # What was not read of the body would be taken for the next request.
    close = request.body_exists and not request.content.is_eof()
    return Reply(refusal(status, explanation, request.headers.get("Accept")), close=close)


def _not_allowed(request: web.BaseRequest, allowed: str) -> Reply:
    explanation = f"Expected one of the methods {allowed}."
    found = refusal(405, explanation, request.headers.get("Accept"))
    return Reply(found.with_header("Allow", allowed))


async def _read_body(request: web.BaseRequest, limit: int) -> bytes:
    """Return the request's body, or the first bytes of it when there are more than *limit*."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = b""
    try:
        while len(body) <= limit:
            chunk = await asyncio.wait_for(request.content.readany(), BODY_SECONDS)
            if not chunk:
                break
            body += chunk
    except (
        ClientError,
        ConnectionError,
        HttpProcessingError,
        web.RequestPayloadError,
    ) as error:
        raise BadRequest("The body could not be read.") from error
    except asyncio.TimeoutError as error:
        raise RequestTimeout("The body did not come in time.") from error
    return body


def _limit_hops(request: web.BaseRequest, hops: int) -> None:
    """Let what the connection sends from now on pass *hops* routers.

    It stays that way: a token sent again because it was not acknowledged must not travel
    further, and whoever does get it is near enough for the answers that follow.
    """
    link = request.transport.get_extra_info("socket") if request.transport else None
    if link is None or link.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if link.family == socket.AF_INET6:
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    # Also on a socket of IPv6, for the IPv4 addresses mapped into it.
    link.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


NOT_HTTP: Final = refusal(400, "Expected a well-formed request of HTTP/1.1.", None)
STRANGE_HOST: Final = "Expected an address, localhost or a configured name in the Host header."
