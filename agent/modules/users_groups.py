"""users_groups: groups and users, with what each may do and who may come in as them.

Passwords are set once for each instance: a change its owner made later is never undone.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Optional

from ..errors import HostError
from ..host import Account
from ..secret import Secret
from .authorized_keys import FILE, authorize, checked, read_keys, redirected
from .base import Context, Frequency, Module, Stage
from .families import family
from .items import load_item
from .memory import recall, remember
from .readers import (
    kind,
    read_hash,
    read_line,
    read_name,
    read_names,
    read_path,
    read_text_password,
    read_words,
    what_is_wrong_with,
)
from .sudoers import Rules, doas_rules, grant_doas, grant_sudo, sudo_rules
from .user_list import DEFAULT, default_settings, default_user, entries, without_chpasswd

MEMORY = "users"


def read_uid(raw: object) -> int:
    """Return a user id given as a number or as its digits."""
    if type(raw) is int and 0 <= raw < 2**32 - 1:
        return raw
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,10}", raw):
        return read_uid(int(raw))
    raise ValueError(f"expected a user id such as 1000, got {kind(raw)}")


def read_gecos(raw: object) -> str:
    """Return the comment of an account."""
    text = read_line(str(raw) if type(raw) is int else raw)
    if ":" in text:
        raise ValueError("expected text without ':'")
    return text


def read_days(raw: object) -> str:
    """Return a number of days, as text."""
    if type(raw) is int or (isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,6}", raw)):
        return str(raw)
    raise ValueError(f"expected a number of days, got {kind(raw)}")


def read_date(raw: object) -> str:
    """Return a date as YYYY-MM-DD; YAML makes a date of an unquoted one."""
    # Told by its name: importing datetime costs a boot a millisecond.
    if type(raw).__name__ in ("date", "datetime"):
        return str(raw)[:10]
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{4}-[0-9][0-9]-[0-9][0-9]", raw):
        return raw
    raise ValueError(f"expected a date such as '2032-09-01', got {kind(raw)}")


def read_grants(raw: object) -> tuple[str, ...]:
    """Return rules of sudo or doas given as one, as a list, or as none (false)."""
    if raw is None or raw is False:
        return ()
    rules = raw if isinstance(raw, (list, tuple)) else [raw]
    try:
        return tuple(read_line(rule).strip() for rule in rules)
    except ValueError:
        raise ValueError("expected a rule such as 'ALL=(ALL) NOPASSWD:ALL', or several") from None


class User(NamedTuple):
    """A user to be made; one that exists keeps its account and gets keys, rules and passwords."""

    name: Annotated[str, read_name]
    """Login name; `default` is the image's default user."""
    gecos: Annotated[str, read_gecos] = ""
    """Comment, as a rule the full name."""
    homedir: Annotated[Optional[str], read_path] = None
    """Home directory; /home/NAME when left out."""
    primary_group: Annotated[Optional[str], read_name] = None
    """Primary group; a new one of the user's name when left out."""
    groups: Annotated[tuple[str, ...], read_names] = ()
    """Further groups, in a list or with commas."""
    create_groups: bool = True
    """Make the groups that are missing."""
    shell: Annotated[Optional[str], read_path] = None
    """Login shell."""
    uid: Annotated[Optional[int], read_uid] = None
    """User id; the next free one when left out."""
    system: bool = False
    """Make a system account, without a home."""
    no_create_home: bool = False
    """Make no home."""
    no_user_group: bool = False
    """Make no group of the user's name."""
    no_log_init: bool = False
    """Leave the user out of lastlog and faillog."""
    sudo: Annotated[tuple[str, ...], read_grants] = ()
    """Rules for sudo, such as `ALL=(ALL) NOPASSWD:ALL`."""
    doas: Annotated[tuple[str, ...], read_grants] = ()
    """Rules for doas, such as `permit nopass NAME`."""
    lock_passwd: bool = True
    """Lock the password, even one given here."""
    passwd: Annotated[Optional[Secret], read_hash] = None
    """Hash of the password; left alone when the user exists."""
    hashed_passwd: Annotated[Optional[Secret], read_hash] = None
    """Hash of the password, also for a user that exists."""
    plain_text_passwd: Annotated[Optional[Secret], read_text_password] = None
    """The password itself, also for a user that exists."""
    ssh_authorized_keys: Annotated[tuple[str, ...], read_keys] = ()
    """Public keys that may come in."""
    ssh_import_id: Annotated[tuple[str, ...], read_words] = ()
    """Accounts such as gh:NAME whose public keys may come in, or lp:NAME."""
    ssh_redirect_user: bool = False
    """Tell who comes with the instance's keys to come as the default user."""
    inactive: Annotated[Optional[str], read_days] = None
    """Days after the password's end until the account is closed."""
    expiredate: Annotated[Optional[str], read_date] = None
    """Day the account ends, YYYY-MM-DD."""
    selinux_user: Annotated[Optional[str], read_line] = None
    """SELinux user of the login."""
    snapuser: Optional[str] = None
    """Ubuntu's snap accounts are not supported: reported."""


class UsersGroups(NamedTuple):
    """Groups, then users."""

    groups: Any = None
    """Groups to make: names, or names with their members."""
    users: Any = None
    """Users to make: names or settings; `default` is the image's. Left out: the default user."""
    user: Any = None
    """Another name, or other settings, for the default user."""


class NewGroup(NamedTuple):
    """A group to be made, and who is in it."""

    name: str
    members: tuple[str, ...]


def read_groups(raw: object) -> Iterator[NewGroup]:
    """Yield the groups of `groups` in any of its shapes; raises ValueError at one that is none."""
    if isinstance(raw, str):
        for name in read_names(raw):
            yield NewGroup(name, ())
    elif isinstance(raw, Mapping):
        for name, members in raw.items():
            yield NewGroup(read_name(name), read_names(members) if members else ())
    elif type(raw) is int:
        yield NewGroup(read_name(raw), ())
    else:
        raise ValueError(f"expected a group, or a group with its members, got {kind(raw)}")


def apply(section: UsersGroups, context: Context) -> None:
    """Make the groups, then the users, then put members into groups."""
    groups = _groups(section, context)
    for group in groups:
        _add_group(group.name, f"groups {group.name}", context)
        for member in group.members:
            # Who is here already is in it before those who are still to be made.
            if context.host.user(member) is not None:
                _add_member(member, group.name, context)

    users = _users(context)
    done = set(recall(context, MEMORY))
    for place, user in users:
        try:
            _make(user, place, context, done)
        except HostError as error:
            context.report.failed(place, str(error))
    remember(context, MEMORY, *sorted(done))

    for group in groups:
        for member in group.members:
            _add_member(member, group.name, context)
    here = [(place, user) for place, user in users if context.host.user(user.name) is not None]
    _grant(here, context)
    for place, user in here:
        _open(user, place, context)


def _groups(section: UsersGroups, context: Context) -> list[NewGroup]:
    raw = section.groups
    items = raw if isinstance(raw, list) else [] if raw is None else [raw]
    found: list[NewGroup] = []
    for n, item in enumerate(items):
        try:
            found += read_groups(item)
        except ValueError as error:
            place = f"groups[{n}]" if isinstance(raw, list) else "groups"
            context.report.refused(place, str(error))
    return found


def _users(context: Context) -> list[tuple[str, User]]:
    found, malformed = entries(context.config)
    for place, why in malformed:
        context.report.refused(place, why)
    users: list[tuple[str, User]] = []
    for place, settings in found:
        raw = settings
        if settings["name"] == DEFAULT:
            chosen = default_settings(context)
            if not chosen["name"]:
                continue
            raw = {**_of_family(context), **settings, **chosen}
        user = load_item(User, raw, place, context.report)
        if user is not None:
            users.append((place, user))
    return users


def _of_family(context: Context) -> dict[str, Any]:
    facts = family(context.host)
    return {
        "gecos": facts.user_gecos,
        "groups": list(facts.user_groups),
        "shell": facts.user_shell,
        "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
    }


def _add_group(name: str, place: str, context: Context) -> None:
    if context.host.group(name) is not None:
        return
    try:
        context.host.add_group(name)
    except HostError as error:
        context.report.failed(place, str(error))


def _add_member(member: str, group: str, context: Context) -> None:
    host = context.host
    place = f"groups {group}"
    if host.user(member) is None:
        context.report.failed(place, f"no such user: {member!r}")
        return
    found = host.group(group)
    if found is None or member in found.members:
        return
    try:
        host.add_to_groups(member, (group,))
    except HostError as error:
        context.report.failed(place, str(error))


def _make(user: User, place: str, context: Context, done: set[str]) -> None:
    """Make the account and set its password, each once for this instance."""
    host = context.host
    new = host.user(user.name) is None
    if new:
        _add(user, place, context)
    elif user.name not in done:
        _say_what_stays(user, place, context)
    if user.name in done:
        return
    hashes = (user.passwd if new else None, user.hashed_passwd)
    for hash_ in (each for each in hashes if each is not None):
        complaint = what_is_wrong_with(hash_)
        if complaint is not None:
            context.report.warning(place, complaint)
        host.set_password_hash(user.name, hash_)
    if user.plain_text_passwd is not None and user.hashed_passwd is None:
        obstacle = without_chpasswd(host)
        if obstacle:
            context.report.add(f"{place}.plain_text_passwd", "not run", obstacle)
            return
        host.set_password(user.name, user.plain_text_passwd)
    if user.lock_passwd:
        field = host.shadow_field(user.name)
        # A new account is locked as it is made.
        if field is None or not field.reveal().startswith(b"!"):
            host.lock_password(user.name)
    else:
        _unlock(user.name, context)
    done.add(user.name)


def _add(user: User, place: str, context: Context) -> None:
    host = context.host
    groups = [group for group in user.groups if group != user.primary_group]
    if user.create_groups:
        own_group = user.name if user.primary_group is None else None
        for group in (user.primary_group, *groups):
            if group is not None and group != own_group:
                _add_group(group, place, context)
    missing = [group for group in groups if host.group(group) is None and group != user.name]
    for group in missing:
        context.report.failed(place, f"no such group: {group!r}")
    host.add_user(
        Account(
            name=user.name,
            uid=user.uid,
            gecos=user.gecos,
            home=user.homedir,
            shell=user.shell,
            primary_group=user.primary_group,
            groups=tuple(group for group in groups if group not in (*missing, user.name)),
            system=user.system,
            create_home=not (user.no_create_home or user.system),
            create_user_group=not user.no_user_group and user.primary_group is None,
            log_init=not user.no_log_init,
            inactive=user.inactive,
            expiredate=user.expiredate,
            selinux_user=_selinux_user(user, place, context),
        )
    )


def _selinux_user(user: User, place: str, context: Context) -> Optional[str]:
    """Return the SELinux user where there is SELinux; elsewhere useradd would make no account."""
    host = context.host
    if user.selinux_user is not None and host.live and host.kind("/sys/fs/selinux/enforce") is None:
        context.report.warning(f"{place}.selinux_user", "not set: there is no SELinux here")
        return None
    return user.selinux_user


# Keys that are about the making of an account alone.
_OF_A_NEW_USER = ("uid", "homedir", "primary_group", "groups", "shell", "passwd", "expiredate")


def _say_what_stays(user: User, place: str, context: Context) -> None:
    stays = [key for key in _OF_A_NEW_USER if getattr(user, key)]
    if stays and place != "users":
        context.report.notice(
            place, f"{user.name} exists already; left as they are: {', '.join(stays)}"
        )


def _unlock(name: str, context: Context) -> None:
    field = context.host.shadow_field(name)
    # Only what hides behind the lock is set free: an account is never left without a password.
    unlocked = field.reveal().lstrip(b"!") if field is not None else b""
    if field is not None and unlocked != field.reveal() and unlocked not in (b"", b"*"):
        context.host.set_password_hash(name, Secret(unlocked))


def _grant(users: list[tuple[str, User]], context: Context) -> None:
    sudo: list[Rules] = []
    doas: list[Rules] = []
    for place, user in users:
        if user.sudo:
            sudo.append(Rules(user.name, f"{place}.sudo", sudo_rules(user.name, user.sudo)))
        if user.doas:
            try:
                doas.append(Rules(user.name, f"{place}.doas", doas_rules(user.name, user.doas)))
            except ValueError as error:
                context.report.refused(f"{place}.doas", str(error))
    for grant, rules in ((grant_sudo, sudo), (grant_doas, doas)):
        try:
            grant(rules, context)
        except HostError as error:
            context.report.failed("users", str(error))


def _open(user: User, place: str, context: Context) -> None:
    """See to who may come in as *user*."""
    if user.snapuser is not None:
        context.report.warning(f"{place}.snapuser", "snap accounts are not supported")
    if user.ssh_redirect_user:
        _redirect(user, place, context)
        return
    where = f"{place}.ssh_authorized_keys"
    authorize(user.name, checked(user.ssh_authorized_keys, where, context), where, context)
    _make_room_for_keys(user, where, context)
    if user.ssh_import_id:
        from .imported_keys import import_keys

        import_keys(user.name, user.ssh_import_id, f"{place}.ssh_import_id", context)


def _make_room_for_keys(user: User, place: str, context: Context) -> None:
    """Make an empty file of keys in a home of ours: commands of the user data add to it."""
    host = context.host
    if user.no_create_home or user.system or user.ssh_authorized_keys:
        return
    try:
        account = host.user(user.name)
        has_home = account is not None and host.kind(account.home, follow=True) == "directory"
        if has_home and host.read_in_home(user.name, FILE) is None:
            host.write_in_home(user.name, FILE, b"", mode=0o600)
    except HostError as error:
        context.report.failed(place, str(error))


def _redirect(user: User, place: str, context: Context) -> None:
    where = f"{place}.ssh_redirect_user"
    target = default_user(context)
    if user.ssh_authorized_keys or user.ssh_import_id:
        context.report.refused(where, "expected no keys of the user's own beside it")
    elif target is None:
        context.report.refused(where, "expected a default user to redirect to")
    elif not context.instance.public_keys:
        context.report.warning(where, "the instance has no public keys to redirect")
    else:
        keys = checked(context.instance.public_keys, "public_keys", context)
        authorize(user.name, redirected(keys, target, user.name), where, context)


MODULE = Module(
    "users_groups",
    UsersGroups,
    Stage.NETWORK,
    Frequency.INSTANCE,
    apply,
    needs_section=False,
)
