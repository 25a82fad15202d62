"""Every key of docs/modules.md is in a case of tests/cases, or in a test that is named here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
import yaml

from agent.modules import NAMES, load_module
from agent.modules.reference import schemas
from agent.schema import keys

from .guests.cases import CASES

TESTS = Path(__file__).resolve().parent
HEAD = b"#cloud-config\n"


class Elsewhere(NamedTuple):
    """Why a section is in no case, and which file shows it in a guest instead."""

    reason: str
    file: str


# By the beginning of the key.
ELSEWHERE = {
    "disk_setup": Elsewhere("a light guest has no disks", "guests/test_machine_disks.py"),
    "fs_setup": Elsewhere("a light guest has no disks", "guests/test_machine_disks.py"),
    "growpart": Elsewhere("a light guest has no disks", "guests/test_machine_disks.py"),
    "resize_rootfs": Elsewhere("a light guest has no disks", "guests/test_machine_disks.py"),
    "device_aliases": Elsewhere("a light guest has no disks", "guests/test_machine_disks.py"),
    "swap": Elsewhere("a container may not swap", "guests/test_machine_disks.py"),
    "post_password": Elsewhere("it needs the server's own mailbox", "guests/test_post_password.py"),
}
# Old spellings that are more than dashes in the place of underscores, by what they look like.
OLD: Mapping[str, Callable[[dict[str, Any]], bool]] = {
    "apt_sources as a list": lambda config: isinstance(config.get("apt_sources"), list),
    "chpasswd.list as text": lambda config: isinstance(_of(config, "chpasswd", "list"), str),
    "chpasswd.list as a list": lambda config: isinstance(_of(config, "chpasswd", "list"), list),
    "groups as text": lambda config: isinstance(config.get("groups"), str),
    "groups as a mapping": lambda config: isinstance(config.get("groups"), dict),
    "manage_etc_hosts: template": lambda config: config.get("manage_etc_hosts") == "template",
    "power_state.delay with a sign": lambda config: str(
        _of(config, "power_state", "delay")
    ).startswith("+"),
    "rsyslog as a list": lambda config: isinstance(config.get("rsyslog"), list),
    "ssh_pwauth as a word": lambda config: isinstance(config.get("ssh_pwauth"), str),
    "user as text": lambda config: isinstance(config.get("user"), str),
    "user as a mapping": lambda config: isinstance(config.get("user"), dict),
    "users as text": lambda config: isinstance(config.get("users"), str),
    "users as a mapping": lambda config: isinstance(config.get("users"), dict),
}
# Those that cloud-init itself has had with dashes.
DASHED = (
    "ca-certs",
    "remove-defaults",
    "create-groups",
    "hashed-passwd",
    "lock-passwd",
    "no-create-home",
    "no-log-init",
    "no-user-group",
    "plain-text-passwd",
    "primary-group",
    "selinux-user",
    "ssh-authorized-keys",
    "ssh-import-id",
    "ssh-redirect-user",
)


def documents() -> list[dict[str, Any]]:
    """Return the cloud-configs among the user data of all cases."""
    found = []
    for path in sorted(CASES.glob("*/user-data")):
        content = path.read_bytes()
        if content.startswith(HEAD):
            config = yaml.safe_load(content)
            found += [config] if isinstance(config, dict) else []
    return found


DOCUMENTS = documents()


def _of(config: Mapping[str, Any], section: str, key: str) -> Any:
    inside = config.get(section)
    return inside.get(key) if isinstance(inside, dict) else None


def used(raw: Any, path: tuple[str, ...]) -> bool:
    """Say whether *raw* has a value at *path*; lists, and items by name, are looked into."""
    if not path:
        return raw is not None
    if isinstance(raw, list):
        return any(used(each, path) for each in raw)
    if not isinstance(raw, dict):
        return False
    plain = {str(key).replace("-", "_"): value for key, value in raw.items()}
    if path[0] in plain:
        return used(plain[path[0]], path[1:])
    return any(isinstance(each, dict) and path[0] in each for each in raw.values())


def words(raw: Any) -> Iterator[str]:
    """Yield every key of *raw*, as it is spelled."""
    if isinstance(raw, dict):
        yield from map(str, raw)
    for each in raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ():
        yield from words(each)


def documented() -> list[str]:
    """Return every key of every module, by dots."""
    found = {}
    for name in NAMES:
        for title, schema in schemas(load_module(name.name).schema, ""):
            found.update(dict.fromkeys(f"{title}.{key}".lstrip(".") for key in keys(schema)))
    return list(found)


def test_every_key_is_in_a_case() -> None:
    missing = [
        key
        for key in documented()
        if key.partition(".")[0] not in ELSEWHERE
        and not any(used(config, tuple(key.split("."))) for config in DOCUMENTS)
    ]

    assert missing == []


@pytest.mark.parametrize("section", ELSEWHERE)
def test_a_section_that_is_in_no_case_has_its_keys_in_the_test_that_is_named(section: str) -> None:
    text = (TESTS / ELSEWHERE[section].file).read_text()
    config = yaml.safe_load(text.partition("#cloud-config\n")[2].partition('"""')[0])
    missing = [
        key
        for key in documented()
        if key.partition(".")[0] == section and not used(config, tuple(key.split(".")))
    ]

    assert missing == []


@pytest.mark.parametrize("spelling", [*OLD, *DASHED])
def test_every_deprecated_spelling_is_in_a_case(spelling: str) -> None:
    if spelling in OLD:
        assert any(OLD[spelling](config) for config in DOCUMENTS)
    else:
        assert spelling in {word for config in DOCUMENTS for word in words(config)}
