"""What the journal says of a request that took the long way."""

from __future__ import annotations

from aiohttp import web

from ..paths import EC2_TOKEN, RESET, read_path
from ..replies import GuestRequest
from ..tokens import TOKEN_HEADERS, Tokens
from .journal import LONGEST, Noted, Token


def noted(request: web.BaseRequest, status: int, now: float, tokens: Tokens) -> Noted:
    """Return *request*, answered with *status* or with 0 not at all, for the journal."""
    known = request if isinstance(request, GuestRequest) else None
    instance_id = known.instance_id if known else None
    return (
        now,
        instance_id,
        request.remote or "",
        request.method[:LONGEST],
        request.raw_path.partition("?")[0].partition("#")[0][:LONGEST],
        _shown_token(request, instance_id, tokens),
        request.headers.get("User-Agent", "")[:LONGEST],
        status,
        known.fault if known else None,
    )


def _shown_token(request: web.BaseRequest, instance_id: str | None, tokens: Tokens) -> Token:
    """Return whether *request* showed a token that is good, empty where none is asked for."""
    names = read_path(request.raw_path) or ()
    if names[-2:] == EC2_TOKEN or names[: len(RESET)] == RESET:
        return ""
    for name in TOKEN_HEADERS:
        token = request.headers.get(name)
        if token is not None:
            is_good = instance_id is not None and tokens.is_good(token, instance_id)
            return "good" if is_good else "bad"
    return "none"
