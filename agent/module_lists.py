"""The lists of modules that a cloud-config may have: which of them run, and how often.

Such a list takes the place of cloud-init's own for its stage and names cloud-init's modules: what
it leaves out does not run, and what it names may have a frequency, as `[scripts-user, always]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .modules import MODULE_LISTS, NAMES
from .modules.base import Frequency, Lists, Stage, Turn
from .report import Report

FREQUENCIES = {
    "always": Frequency.ALWAYS,
    "once-per-instance": Frequency.INSTANCE,
    "once": Frequency.ONCE,
}
# By our names, where cloud-init's are others.
THEIRS = {
    "random_seed": ("seed_random",),
    "growpart": ("growpart", "resizefs"),
    "hostname": ("set_hostname", "update_hostname"),
    "hosts": ("update_etc_hosts",),
    "apt": ("apt_configure",),
    "yum_repos": ("yum_add_repo",),
    "zypper": ("zypper_add_repo",),
    "apk_repos": ("apk_configure",),
    "packages": ("package_update_upgrade_install",),
    "console_keys": ("ssh_authkey_fingerprints", "keys_to_console"),
    "power_state": ("power_state_change",),
}
# Each of them has its list by its stage, but for those that have it elsewhere in cloud-init.
ELSEWHERE = {"set_passwords": Stage.CONFIG, "runcmd": Stage.CONFIG}
# No list has them: the work goes by other names there, or there is none.
UNLISTED = frozenset({"injected_files", "post_password", "scripts", "scripts_late"})
USER_SCRIPTS = Turn.USER.module


def read(config: Mapping[str, Any], report: Report) -> Lists:
    """Return what the lists of *config* say of our modules, and of the turns of scripts."""
    named: dict[str, Frequency | None] = {}
    given = set()
    for stage, key in MODULE_LISTS.items():
        if key not in config:
            continue
        if not isinstance(config[key], (list, tuple)):
            report.refused(key, "expected a list of modules")
            continue
        given.add(stage)
        for number, item in enumerate(config[key]):
            _add(item, f"{key}[{number}]", named, report)
    frequencies = {}
    left_out = {}
    for name, theirs, stage in _listed():
        chosen = [named[each] for each in theirs if each in named]
        if stage in given and not chosen:
            left_out[name] = MODULE_LISTS[stage]
        for frequency in filter(None, chosen):
            frequencies[name] = frequency
    # The commands of runcmd are one of the user's scripts there.
    frequencies.pop("runcmd", None)
    if USER_SCRIPTS in frequencies:
        frequencies["runcmd"] = frequencies[USER_SCRIPTS]
    if USER_SCRIPTS in left_out:
        left_out.setdefault("runcmd", left_out[USER_SCRIPTS])
    return Lists(frequencies, left_out)


def _listed() -> Iterator[tuple[str, tuple[str, ...], Stage]]:
    """Give what a list may name: its name here, its names there, and the stage of its list."""
    for row in NAMES:
        if row.name not in UNLISTED:
            stage = ELSEWHERE.get(row.name, row.stage)
            yield row.name, THEIRS.get(row.name, (row.name,)), stage
    for turn in Turn:
        yield turn.module, (turn.module,), Stage.FINAL


def _add(item: object, place: str, named: dict[str, Frequency | None], report: Report) -> None:
    """Put the module that *item* is about into *named*, with the frequency it asks for."""
    name, frequency = item, None
    if isinstance(item, Mapping):
        name, frequency = item.get("name"), item.get("frequency")
    elif isinstance(item, (list, tuple)) and item:
        name, frequency = item[0], item[1] if len(item) > 1 else None
    if not isinstance(name, str):
        report.refused(place, "expected a module's name, or a list of name and frequency")
        return
    if frequency is not None and frequency not in FREQUENCIES:
        words = f"frequency not understood, expected one of {', '.join(FREQUENCIES)}"
        report.warning(place, words)
        frequency = None
    plain = name.strip().lower().replace("-", "_").removeprefix("cc_")
    named[plain] = None if frequency is None else FREQUENCIES[str(frequency)]
