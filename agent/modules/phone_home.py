"""phone_home: tell a URL that this machine is up, who it is, and its public host keys."""

import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple, Optional, Union

from ..report import Report
from ..schema import keys, load
from .base import Context, Frequency, Module, Stage
from .hostname import Hostname, names
from .readers import kind
from .ssh import TYPES

KEYS = {f"pub_key_{each}": f"/etc/ssh/ssh_host_{each}_key.pub" for each in TYPES}
FIELDS = (*KEYS, "instance_id", "hostname", "fqdn")
UNKNOWN = "N/A"
"""What is posted for what this machine has not."""
_URL = re.compile(r"https?://[^\s/][^\s]*")


def read_url(raw: object) -> str:
    """Return a URL of http or https."""
    if isinstance(raw, str) and raw.isprintable() and _URL.fullmatch(raw):
        return raw
    # It may hold a password: it is not quoted.
    raise ValueError("expected a URL such as 'https://example.com/$INSTANCE_ID/'")


def read_fields(raw: object) -> tuple[str, ...]:
    """Return names among FIELDS, all of them for 'all'."""
    if raw == "all":
        return FIELDS
    # DSA keys are posted by nobody any more, but still asked for.
    known = (*FIELDS, "pub_key_dsa")
    if isinstance(raw, list) and all(each in known for each in raw):
        return tuple(raw)
    raise ValueError(f"expected 'all' or names among {', '.join(FIELDS)}")


def read_tries(raw: object) -> int:
    """Return how often to try."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str) and re.fullmatch(r"[1-9]\d{0,3}", text):
        return int(text)
    raise ValueError(f"expected a number of tries such as 10, got {kind(raw)}")


class Call(NamedTuple):
    """Whom to tell what."""

    url: Annotated[str, read_url]
    """URL that gets the POST; $INSTANCE_ID in it is the instance's id."""
    post: Annotated[Union[str, tuple[str, ...]], read_fields] = FIELDS
    """What is told: `all`, or names of what is."""
    tries: Annotated[int, read_tries] = 10
    """How often it is tried, when no answer comes."""


class PhoneHome(NamedTuple):
    """Whom to tell that this machine is up."""

    phone_home: Optional[Call] = None
    """Whom to tell what."""


def apply(section: PhoneHome, context: Context) -> None:
    """Send what is asked for, as a form."""
    wanted = section.phone_home
    if wanted is None:
        return
    from urllib.parse import quote, urlencode

    instance = quote(context.instance.instance_id, safe="")
    url = re.sub(r"\$(INSTANCE_ID|\{INSTANCE_ID\})", lambda _: instance, wanted.url)
    told = values(wanted.post, context)
    if not context.host.live and not context.host.records:
        context.host.not_run.append("phone_home")
        return
    context.host.fetch(
        url,
        data=urlencode(told).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        attempts=wanted.tries,
    )


def values(fields: Sequence[str], context: Context) -> dict[str, str]:
    """Return what the *fields* are on this machine."""
    config = context.config
    # What is wrong with the names is said by their own module.
    section = load(Hostname, {k: config[k] for k in keys(Hostname) if k in config}, Report())
    called = names(section, context.instance.hostname)
    known = {
        "instance_id": context.instance.instance_id,
        "hostname": called.short if called is not None else "",
        "fqdn": called.full if called is not None else "",
    }
    for name in fields:
        if name in KEYS:
            known[name] = (context.host.read(KEYS[name]) or b"").decode("utf-8", "replace").strip()
    return {name: known.get(name) or UNKNOWN for name in fields}


MODULE = Module("phone_home", PhoneHome, Stage.FINAL, Frequency.INSTANCE, apply)
