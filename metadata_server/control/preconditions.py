"""ETag, If-Match and If-None-Match: how two operators keep from writing over each other.

An ETag is `"CONFIGURATION-REST"`: the first half names the configuration of an instance, the second
all that is shown with it. A reader is told `304` only when both are the same. A writer is refused
only when the first differs: a password that the guest posts meanwhile is nobody's lost change.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from aiohttp import web

from ..errors import BadRequest, PreconditionFailed

_TAGS: Final = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"\s*')


def entity_tag(configuration: str, text: str) -> str:
    """Return the ETag for *text*, which shows the state that the tag *configuration* names."""
    return f'"{configuration}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def wanted(request: web.Request, current: str | None) -> str | None:
    """Return the configuration's tag that a write has to meet, None when any will do.

    *current* is the one of now, None when there is no instance. Raises PreconditionFailed when
    that is known to be wrong already.
    """
    if current is not None and "*" in _given(request, "If-None-Match"):
        raise PreconditionFailed("If-None-Match: the instance is there already")
    given = _given(request, "If-Match")
    if not given:
        return None
    if current is None:
        raise PreconditionFailed("If-Match: there is no such instance")
    if "*" in given:
        return None
    # A weak tag is never strong enough to write by.
    known = {tag[1:-1].partition("-")[0] for tag in given if not tag.startswith("W/")}
    if current not in known:
        raise PreconditionFailed(
            "If-Match: somebody else has changed it since; read it again, then decide"
        )
    return current


def is_known(request: web.Request, tag: str) -> bool:
    """Say whether the reader has what *tag* names already."""
    given = _given(request, "If-None-Match")
    return "*" in given or tag in {each.removeprefix("W/") for each in given}


def _given(request: web.Request, name: str) -> list[str]:
    found = []
    for line in request.headers.getall(name, []):
        for each in line.split(","):
            tag = each.strip()
            if tag and tag != "*" and not _TAGS.fullmatch(tag):
                raise BadRequest(f'{name}: expected entity tags such as "abc", or *')
            if tag:
                found.append(tag)
    return found
