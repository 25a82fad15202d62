"""What the journal says of a request's token."""

from __future__ import annotations

from aiohttp import web

from ..paths import EC2_TOKEN, RESET, read_path
from ..tokens import TOKEN_HEADERS, Tokens
from .journal import Token


def shown_token(request: web.BaseRequest, instance_id: str | None, tokens: Tokens) -> Token:
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
