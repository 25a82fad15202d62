"""The reference page of the served paths, printed from the tables that serve them.

`python -m metadata_server.reference > docs/metadata-paths.md`
"""

from __future__ import annotations

from collections.abc import Iterable

from . import ec2, huawei, openstack
from .boot_reports import LIMIT as REPORT_LIMIT
from .mailbox import LIMIT
from .tokens import EC2, HUAWEI, LONGEST
from .tree import Entry


def page() -> str:
    """Return docs/metadata-paths.md as it should be."""
    return f"""\
<!-- Made by `python -m metadata_server.reference`; a test says when it is out of date. -->
# What guests are served

Repeated and trailing slashes mean nothing, and neither does a query. What an instance does not
have is not listed and answers 404; everything listed answers 200. Leaves and listings take GET and
HEAD; other methods answer 405.

## EC2

`/` and `/ec2` list the versions: {_words(ec2.VERSIONS)} and `{ec2.LATEST}`.
Below each version, a listing is sorted, and names a directory with a slash.

{_table(ec2.ENTRIES)}

## OpenStack

`/openstack` lists the versions: {_words(openstack.VERSIONS)} and `{openstack.LATEST}`.
Below each version:

{_table(openstack.ENTRIES)}

`/openstack/content/NNNN` has the injected files that `meta_data.json` names; there is no listing.

## Session tokens

| PUT | Lifetime header, in seconds | Header to show the token in |
|---|---|---|
| `/latest/api/token` | `{EC2.ttl_header}`: {EC2.shortest} to {LONGEST}, required \
| `{EC2.token_header}` |
| `/meta-data/latest/api/token` | `{HUAWEI.ttl_header}`: {HUAWEI.shortest} to {LONGEST}, \
{HUAWEI.default} without it | `{HUAWEI.token_header}` |

Either token is taken in either header, for every path of its own instance. The answer tells the
lifetime in a header of the same name, and is sent with the IP TTL of the instance's `hop_limit`.
A request with `X-Forwarded-For` gets no token. Neutron's proxy passes on none of
these headers: behind it `/latest/api/token` is 404, nova's answer, and SDKs go on without a token.
With `http_tokens: required` nothing gets through it.

## Who asks

The address that a request comes from, or the interface, says whose it is. A proxy of
`proxy.trusted` says it with a signature instead, an HMAC-SHA256 in hexadecimal under the shared
secret:

| Headers | What is signed | The instance |
|---|---|---|
| `X-Instance-ID`, `X-Instance-ID-Signature`, `X-Tenant-ID` | the instance's id \
| that one, when it is the tenant's |
| `X-Metadata-Provider`, `X-Metadata-Provider-Signature`, `X-Forwarded-For` \
| the provider's name | the one with the first address forwarded for |

From anybody else these headers mean nothing. There has to be one of each: a second one may be the
guest's own, and is refused. A balancer has to put its own `X-Forwarded-For` in the place of what
the guest sent, not behind it. A connection from a proxy is for one request, so that none of a
guest's can be taken for the beginning of another's. At `/`, a proxy that names no instance gets the
list of versions, by any method: that is how balancers look whether the service is up. The Host
header is looked at as well: when neutron's `nova_metadata_host` is a name, it belongs in `hosts`.

## Answers that are made anew each time

- `random_seed` of `meta_data.json`: 512 random bytes in base64, from 2013-04-04 on.
- `password`: {LIMIT} bytes at most, once, then 409 until the operator clears it.
- `securitykey` and `iam/security-credentials/NAME`: one pair of keys, valid for \
{huawei.VALID_SECONDS // 60} minutes; a new one
  is given out {huawei.OVERLAP_SECONDS // 60} minutes before its end.

## What guests say

`PUT /linklocal/v1/boot-report` takes what an agent says of its boot, as [status.md](status.md)
has it: at most {REPORT_LIMIT // 1024} KiB, the last one of each instance. A token is asked for as
for any path.

## Refusals

| Status | When |
|---|---|
| 400 | a token's lifetime is missing or out of its range, a password is too long, \
a trusted proxy's headers are not complete |
| 401 | a token is not valid, or there is none and one is required; \
`securitykey` without an agency |
| 403 | the endpoint is switched off; a token for a forwarded request; a Host header that is no \
address, `localhost` or configured name; a proxy's signature is wrong |
| 404 | there is no such path, or no such guest |
| 405 | the path has other methods |
| 409 | the password was posted already |
| 413 | a boot report is too long |
| 429 | the guest asks more often than `limits.rate`, or somebody who is no guest more often than \
`limits.strangers`; `Retry-After` says when to ask again |
| 431 | the head of the request is too long |

The body is HTML, or JSON or plain text for clients that accept no HTML.
"""


def _table(entries: Iterable[Entry]) -> str:
    rows = [f"| `{entry.path}` | {entry.since} | {entry.summary} |" for entry in entries]
    return "\n".join(["| Path | Since | What it holds |", "|---|---|---|", *rows])


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(page(), end="")
