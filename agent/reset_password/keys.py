"""What makes this guest itself to the server: its identity and its boot key."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..secret import Secret
from . import KEY_SIZE
from .kept import BOOT, IDENTITY, load, save, secret
from .private import PrivateDirectory
from .protocol import BOOT_SIZE, Boot, Identity

IDENTITIES_KEPT = 4
"""Identities that a server proved to have enrolled; and as many again that none has yet."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_IDENTITY_NAME = re.compile(r"identity(?:-[0-9a-f]{32})?\.json")


def load_identity(state: PrivateDirectory, instance: str) -> tuple[Identity, bool]:
    """Return the identity kept for *instance* and whether it had to be made.

    Those of other instances stay: anybody in between may have named *instance*.
    """
    kept = _identities(state)
    for name, raw in kept.items():
        if raw.get("instance") == instance:
            return Identity(secret(state, name, raw, "identity")), False
    # Whoever names one instance after another drives out nothing but what was so named last.
    _drop(state, [name for name in kept if not _is_proven(kept[name])][IDENTITIES_KEPT - 1 :])
    private = os.urandom(KEY_SIZE)
    name = f"identity-{hashlib.sha256(instance.encode()).hexdigest()[:32]}.json"
    save(
        state,
        name if IDENTITY in kept else IDENTITY,
        {
            "instance": instance,
            "identity": private.hex(),
            "proven": False,
            "number": _next_number(kept),
        },
    )
    return Identity(Secret(private)), True


def keep_identity(state: PrivateDirectory, instance: str) -> None:
    """Know that the server enrolled *instance*: only such identities outlast more of them."""
    kept = _identities(state)
    for name, raw in kept.items():
        if raw.get("instance") == instance and not _is_proven(raw):
            proven = [each for each in kept if _is_proven(kept[each])]
            save(state, name, {**raw, "proven": True, "number": _next_number(kept)})
            _drop(state, proven[: max(0, len(proven) + 1 - IDENTITIES_KEPT)])


def _identities(state: PrivateDirectory) -> Mapping[str, Mapping[str, Any]]:
    """Return what is kept of identities by file name, the oldest first."""
    found = {}
    for name in state.names():
        if _IDENTITY_NAME.fullmatch(name):
            found[name] = load(state, name) or {}
    return dict(sorted(found.items(), key=lambda item: _number(item[1])))


def _is_proven(raw: Mapping[str, Any]) -> bool:
    return raw.get("proven") is not False


def _number(raw: Mapping[str, Any]) -> int:
    number = raw.get("number")
    return number if isinstance(number, int) else 0


def _next_number(kept: Mapping[str, Mapping[str, Any]]) -> int:
    return 1 + max(map(_number, kept.values()), default=0)


def _drop(state: PrivateDirectory, names: Sequence[str]) -> None:
    for name in names:
        state.remove(name)


def load_boot(run: PrivateDirectory) -> Boot:
    """Return this boot's key; a daemon that is started again uses the same."""
    booted = _boot_id()
    kept = load(run, BOOT)
    if kept is not None and kept.get("boot_id") == booted:
        return Boot(
            secret(run, BOOT, kept, "boot", BOOT_SIZE).reveal(), secret(run, BOOT, kept, "key")
        )
    boot, private = os.urandom(BOOT_SIZE), os.urandom(KEY_SIZE)
    # /run may outlive a boot where it is no tmpfs.
    save(run, BOOT, {"boot": boot.hex(), "key": private.hex(), "boot_id": booted})
    return Boot(boot, Secret(private))


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
