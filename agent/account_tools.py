"""The distribution's own account tools, as argument lists."""

from __future__ import annotations

from .accounts import Account


def useradd(account: Account, *, group_exists: bool) -> list[str]:
    """Return the useradd for *account*; *group_exists*: there is a group of the user's name."""
    primary = account.primary_group
    if primary is None and account.create_user_group and group_exists:
        primary = account.name
    argv = ["useradd"]
    for option, value in (
        ("--uid", account.uid),
        ("--comment", account.gecos or None),
        ("--home-dir", account.home),
        ("--shell", account.shell),
        ("--gid", primary),
        ("--groups", ",".join(account.groups) or None),
        ("--inactive", account.inactive),
        ("--expiredate", account.expiredate),
        ("--selinux-user", account.selinux_user),
    ):
        if value is not None:
            argv += [option, str(value)]
    if primary is None:
        argv.append("--user-group" if account.create_user_group else "--no-user-group")
    argv.append("--create-home" if account.create_home else "--no-create-home")
    if account.system:
        argv.append("--system")
    if not account.log_init:
        argv.append("--no-log-init")
    return [*argv, account.name]


def groupadd(name: str, gid: int | None, system: bool) -> list[str]:
    """Return the groupadd for a group."""
    number = [] if gid is None else ["--gid", str(gid)]
    return ["groupadd", *number, *(["--system"] if system else []), name]
