"""users_groups: groups and users, with what each may do and who may come in as them.

Passwords are set once for each instance: a change its owner made later is never undone.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

from ..errors import HostError
from ..host import Account
from ..report import Report
from ..secret import Secret
from .authorized_keys import FILE, authorize, checked, redirected
from .base import Context, Frequency, Module, Stage
from .families import family, user_groups
from .items import load_item
from .memory import recall, remember
from .readers import kind, read_name, read_names, what_is_wrong_with
from .sudoers import Rules, doas_rules, grant_doas, grant_sudo, sudo_rules
from .user import User
from .user_list import (
    DEFAULT,
    bad_default_user,
    default_settings,
    default_user,
    entries,
    without_chpasswd,
)

MEMORY = "users"
# Mistakes in these do not take the account with them: without them it can do less.
_SPARED = frozenset(
    {
        *("passwd", "hashed_passwd", "plain_text_passwd", "ssh_authorized_keys", "ssh_import_id"),
        *("gecos", "sudo", "doas"),
    }
)


class UsersGroups(NamedTuple):
    """Groups, then users."""

    groups: Any = None
    """Groups to make: names, or names with their members."""
    users: Any = None
    """Users to make: names or settings; `default` is the image's. Left out: the default user."""
    user: Any = None
    """Another name, or other settings, for the default user."""
    system_info: Any = None
    """Its `default_user` is as good as `user`, which goes before it; nothing else of it counts."""


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
    bad = bad_default_user(context.config)
    for place, why in (*malformed, *([bad] if bad else [])):
        context.report.refused(place, why)
    users: list[tuple[str, User]] = []
    for place, settings in found:
        raw = settings
        if settings["name"] == DEFAULT:
            chosen = default_settings(context)
            if not chosen["name"]:
                continue
            raw = {**_of_family(context), **settings, **chosen}
        user = _load(raw, place, context)
        if user is not None:
            users.append((place, user))
    return users


def _load(raw: Mapping[str, Any], place: str, context: Context) -> Optional[User]:
    """Return the user as asked for; what is refused is left out where the user can do less then."""
    own = Report()
    user: Optional[User] = load_item(User, raw, place, own)
    if user is None:
        refused = {entry.place for entry in own.entries if entry.result == "refused"}
        spared = {
            key: value
            for key, value in raw.items()
            if f"{place}.{key}" not in refused or key.replace("-", "_") not in _SPARED
        }
        user = load_item(User, spared, place, Report())
    context.report.entries += own.entries
    return user


def _of_family(context: Context) -> dict[str, Any]:
    facts = family(context.host)
    return {
        "gecos": facts.user_gecos,
        "groups": list(user_groups(context.host)),
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
        # In cloud-init's order: the next free group id depends on that.
        for group in (*groups, user.primary_group):
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
    keys = checked(user.ssh_authorized_keys, where, context)
    authorize(user.name, keys, where, context)
    if not keys:
        _make_room_for_keys(user, where, context)
    if user.ssh_import_id:
        from .imported_keys import import_keys

        import_keys(user.name, user.ssh_import_id, f"{place}.ssh_import_id", context)


def _make_room_for_keys(user: User, place: str, context: Context) -> None:
    """Make an empty file of keys in a home of ours: commands of the user data add to it."""
    host = context.host
    if user.no_create_home or user.system:
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
