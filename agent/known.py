"""An instance that has booted here before: what its later boots need, so that they ask nobody.

Kept is only what is done at every boot (bootcmd, boothooks, scripts per boot, host names): all else
of the user data has been done. Nothing is kept of a boot that was not done as asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .datasources.detect import has_uuid
from .host import Host
from .instance_data import redacted
from .kept import Kept, dumped, loaded
from .modules import MODULE_LISTS
from .modules.base import STATE
from .secret import Secret
from .user_data.gather import Gathered
from .user_data.parts import BOOTHOOK, CLOUD_CONFIG, HANDLER, JSON_PATCH, PER_BOOT, PER_ONCE, Part

PATH = f"{STATE}/known.json"
# EC2 lets user data be changed while an instance is stopped, and says so by no other id.
DATASOURCES = ("openstack", "configdrive")
KEPT_PARTS = (BOOTHOOK, PER_BOOT, PER_ONCE)
KEPT_KEYS = frozenset(
    {
        *("bootcmd", "growpart", "resize_rootfs", "final_message", "manage_etc_hosts"),
        *("hostname", "fqdn", "prefer_fqdn_over_hostname", "preserve_hostname"),
        *("create_hostname_file", "output", "vendor_data", "vendor_data2", "network"),
    }
)
"""Keys of what has its turn at every boot; of the others it is enough that they were there."""


def recall(host: Host, names: Sequence[str]) -> Kept | None:
    """Return what is kept of the instance that this machine is by its firmware's UUID.

    *names*: the datasources that configuration names, none when it names none.
    """
    content = host.read(PATH)
    if content is None:
        return None
    try:
        kept = loaded(content)
    except ValueError:
        # Whatever it is: whoever is asked knows better.
        return None
    if names and kept.instance.datasource not in names:
        return None
    return kept if has_uuid(host, kept.instance.instance_id) else None


def remember(host: Host, kept: Kept, gathered: Gathered) -> None:
    """Keep of *gathered* what later boots of this machine need, when its firmware knows the id."""
    instance = kept.instance
    if instance.datasource not in DATASOURCES or not has_uuid(host, instance.instance_id):
        return
    if any(placed.part.type == HANDLER for placed in gathered.parts):
        # What a part handler does at each boot only it knows.
        return
    if any(key in gathered.config for key in MODULE_LISTS.values()):
        # Anything may come at every boot.
        return
    config = {key: value if key in KEPT_KEYS else None for key, value in gathered.asked.items()}
    parts: dict[str, tuple[Part, ...]] = {}
    for placed in gathered.parts:
        part = placed.part
        if part.type in (CLOUD_CONFIG, JSON_PATCH) and part.result == "done":
            text = json.dumps(config, default=str).encode()
            part = part._replace(type=CLOUD_CONFIG, content=Secret(text), headers={})
            # All of them together are the first.
            config = {}
        elif part.type not in KEPT_PARTS:
            part = part._replace(content=Secret(b""))
        parts[placed.origin] = (*parts.get(placed.origin, ()), part)
    bare = instance._replace(
        user_data=Secret(b""),
        vendor_data=None,
        vendor_data2=None,
        random_seed=None,
        files=(),
        meta_data=_without_secrets(instance.meta_data),
    )
    host.write(PATH, dumped(Kept(bare, parts)), mode=0o600)


def _without_secrets(meta_data: Mapping[str, Any]) -> Mapping[str, Any]:
    clean = redacted(meta_data)
    if "sensitive_keys" not in meta_data:
        del clean["sensitive_keys"]
    return clean
