"""Fetching what a user names by URL: ordinary HTTP, DNS and proxies and redirects, in bounds.

Imported only where there is such a URL: urllib alone is a quarter of a boot.
"""

from __future__ import annotations

import base64
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from ..version import VERSION
from .hang_up import Alarm, Http, Https
from .include import shown
from .parts import Refused

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
PIECE = 64 * 1024
GRACE = 0.1
"""Seconds after the deadline in which a wait that ends by itself says so in its own words."""


class Patience(NamedTuple):
    """How long is waited for one URL, in seconds."""

    timeout: float = 5.0
    """Longest silence of the other side."""
    deadline: float = 30.0
    """All attempts together."""
    pause: float = 0.5
    """Before the second attempt; it doubles each time."""
    attempts: int = 10


class Cache(Protocol):
    """Keeps what was fetched for this instance."""

    def read(self, url: str) -> bytes | None:
        """Return what was kept for *url*, None when there is nothing."""
        ...

    def keep(self, url: str, content: bytes) -> None:
        """Keep *content* for *url*."""
        ...


class _Broken(Exception):
    """An attempt failed in a way that another may heal; in words."""


class Fetcher:
    """Fetches includes. *tell* is told how many seconds each URL took."""

    def __init__(
        self,
        cache: Cache | None = None,
        patience: Patience | None = None,
        *,
        tell: Callable[[str, float, float], None] = lambda what, began, seconds: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._patience = patience or Patience()
        self._tell = tell
        self._clock = clock
        self._sleep = sleep

    def get(self, url: str, *, once: bool, limit: int) -> bytes:
        """Return what is at *url*, or was there when this instance first asked with *once*."""
        if once and self._cache is not None:
            kept = self._cache.read(url)
            if kept is not None:
                return kept
        content = self.request(url, limit=limit)
        if once and self._cache is not None:
            self._cache.keep(url, content)
        return content

    def request(
        self, url: str, *, limit: int, data: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> bytes:
        """Return the answer of *url*; a POST of *data* when there is any. Refused says why not."""
        patience, began = self._patience, self._clock()
        end, pause = began + patience.deadline, patience.pause
        attempt = 1
        try:
            while True:
                try:
                    return self._once(url, limit, end, data, headers)
                except _Broken as broken:
                    if attempt >= patience.attempts or self._clock() + pause >= end:
                        tries = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                        raise Refused(f"{shown(url)}: {broken}; gave up after {tries}") from None
                self._sleep(pause)
                pause, attempt = pause * 2, attempt + 1
        finally:
            self._tell(shown(url), began, self._clock() - began)

    def _once(
        self, url: str, limit: int, end: float, data: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        late = Refused(f"{shown(url)}: not here within {self._patience.deadline:g} seconds")
        with Alarm(max(0.0, end - self._clock()) + GRACE) as alarm:
            try:
                content = self._answer(url, limit, end, data, headers, alarm)
            except (Refused, _Broken):
                if alarm.over:
                    raise late from None
                raise
        # What we cut off looks whole where the other side has said no length.
        if alarm.over:
            raise late
        return content

    def _answer(
        self,
        url: str,
        limit: int,
        end: float,
        data: bytes | None,
        headers: Mapping[str, str],
        alarm: Alarm,
    ) -> bytes:
        agent = {"User-Agent": f"linklocal-agent/{VERSION}"}
        try:
            bare, login = _login(url)
            request = urllib.request.Request(bare, data, {**agent, **headers})  # noqa: S310 - checked
            if login:
                # Not for those to whom it is redirected.
                request.add_unredirected_header("Authorization", login)
            timeout = max(0.01, min(self._patience.timeout, end - self._clock()))
            with _opener(alarm).open(request, timeout=timeout) as answer:
                return self._body(answer, limit, end, shown(url))
        except urllib.error.HTTPError as error:
            with error:
                words = f"status {error.code}"
            if error.code in RETRIED:
                raise _Broken(words) from None
            raise Refused(f"{shown(url)}: {words}") from None
        except urllib.error.URLError as error:
            reason = error.reason
            if not isinstance(reason, OSError):
                raise Refused(f"{shown(url)}: leads to what is no URL of http or https") from None
            raise _Broken(reason.strerror or str(reason)) from None
        except TimeoutError:
            raise _Broken("timed out") from None
        except OSError as error:
            raise _Broken(error.strerror or str(error)) from None
        except http.client.HTTPException as error:
            raise _Broken(f"no HTTP answer that can be read ({type(error).__name__})") from None
        except (ValueError, LookupError):
            # A redirect to what is no URL, and the like.
            raise Refused(f"{shown(url)}: leads to what is no URL") from None

    def _body(self, answer: http.client.HTTPResponse, limit: int, end: float, where: str) -> bytes:
        content = bytearray()
        while True:
            piece = answer.read1(PIECE)
            if not piece:
                break
            content += piece
            if len(content) > limit:
                raise Refused(f"{where}: larger than {limit} bytes, the most that is taken")
            if self._clock() > end:
                raise Refused(f"{where}: not here within {self._patience.deadline:g} seconds")
        # read1 takes a connection that breaks off for the end.
        if answer.length:
            raise _Broken(f"cut short, {answer.length} bytes are missing")
        return bytes(content)


def _login(url: str) -> tuple[str, str]:
    """Return *url* without a user and password in it, and the header that says them instead."""
    found = urlsplit(url)
    words, sign, host = found.netloc.rpartition("@")
    if not sign:
        return url, ""
    login = base64.b64encode(unquote_to_bytes(words)).decode("ascii")
    return found._replace(netloc=host).geturl(), f"Basic {login}"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the headers of a request are for the place that it names alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to *newurl*, without what may be secret when that is another place."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _place(req.full_url) != _place(newurl):
            for name in [each for each in following.headers if each != "User-agent"]:
                following.remove_header(name)
        return following


def _place(url: str) -> tuple[str, str]:
    found = urlsplit(url)
    return found.scheme, found.netloc.rpartition("@")[2].lower()


def _opener(alarm: Alarm) -> urllib.request.OpenerDirector:
    """Return an opener of http and https alone: no file, no ftp, not by redirect either."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        Http(alarm),
        Https(alarm),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
