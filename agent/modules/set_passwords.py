"""set_passwords: passwords of users that exist, and whether sshd takes passwords.

A password is set once for each instance: a change its owner made later is never undone. Made-up
passwords are told on the console and kept nowhere.
"""

import re
from typing import Annotated, Any, Literal, NamedTuple, Optional

from ..errors import HostError
from ..secret import Secret
from .base import Context, Frequency, Module, Stage
from .items import load_item
from .memory import recall, remember
from .readers import (
    is_hash,
    kind,
    read_hash,
    read_name,
    read_text_password,
    what_is_wrong_with,
)
from .sshd_config import set_for_all
from .user_list import default_user, without_chpasswd

MEMORY = "passwords"
# Without characters that look alike on a console: 24 of these 55 are 138 bits.
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 24
NO_CONSOLE = (
    "there is no console to tell a made-up password on, and nobody would ever learn it; expected a "
    "password of type hash or text"
)


def read_pwauth(raw: object) -> Optional[bool]:
    """Return whether sshd takes passwords, None to leave that as it is."""
    word = raw.strip().lower() if isinstance(raw, str) else raw
    if word is None or word in ("unchanged", ""):
        return None
    if word in (True, "true", "yes", "on"):
        return True
    if word in (False, "false", "no", "off"):
        return False
    # Its name has led people to give a password here.
    raise ValueError(f"expected true, false or unchanged, got {kind(raw)}")


class Password(NamedTuple):
    """A password as it was asked for. *text* is None for one to be made up."""

    user: str
    place: str
    text: Optional[Secret] = None
    hash: Optional[Secret] = None


class ChpasswdUser(NamedTuple):
    """A user's password."""

    name: Annotated[str, read_name]
    """A user that exists."""
    password: Annotated[Optional[Secret], read_text_password] = None
    """The password, as `type` has it."""
    type: Literal["hash", "text", "RANDOM"] = "hash"
    """hash: a crypt(3) hash; text: the password itself; RANDOM: one is made and told on the
    console."""


class Chpasswd(NamedTuple):
    """Passwords of users."""

    expire: bool = True
    """Have a new password chosen at the next login, for every password set here."""
    users: Any = None
    """Passwords, each with `name`, `password` and `type`."""
    list: Any = None
    """Deprecated: lines `NAME:PASSWORD`; the password may be a hash or RANDOM."""


class SetPasswords(NamedTuple):
    """Passwords, and whether sshd takes them."""

    password: Annotated[Optional[Secret], read_text_password] = None
    """Password of the default user, as text or as a hash; not when `chpasswd.list` is there."""
    chpasswd: Optional[Chpasswd] = None
    """Passwords of users."""
    ssh_pwauth: Annotated[Optional[bool], read_pwauth] = None
    """Whether sshd takes passwords; left alone when left out or `unchanged`."""


def apply(section: SetPasswords, context: Context) -> None:
    """Set the passwords, then see to sshd."""
    chpasswd = section.chpasswd or Chpasswd()
    passwords = _of_users(chpasswd.users, context) + _of_list(chpasswd.list, context)
    if section.password is not None and not chpasswd.list:
        passwords += _of_default_user(section.password, context)

    done = set(recall(context, MEMORY))
    for password in passwords:
        if password.user not in done and _set(password, chpasswd.expire, context):
            done.add(password.user)
    if passwords:
        remember(context, MEMORY, *sorted(done))

    if section.ssh_pwauth is not None:
        value = "yes" if section.ssh_pwauth else "no"
        set_for_all("PasswordAuthentication", value, "ssh_pwauth", context)


def _of_users(raw: object, context: Context) -> list[Password]:
    found: list[Password] = []
    if raw is not None and not isinstance(raw, (list, tuple)):
        context.report.refused("chpasswd.users", f"expected a list, got {kind(raw)}")
        return found
    for n, item in enumerate(raw or ()):
        place = f"chpasswd.users[{n}]"
        wanted = load_item(ChpasswdUser, item, place, context.report)
        try:
            if wanted is not None:
                found.append(_of_user(wanted, place))
        except ValueError as error:
            context.report.refused(f"{place}.password", str(error))
    return found


def _of_user(wanted: ChpasswdUser, place: str) -> Password:
    if wanted.type == "RANDOM":
        return Password(wanted.name, place)
    if wanted.password is None:
        raise ValueError("missing, expected a password or type RANDOM")
    if wanted.type == "text":
        return Password(wanted.name, place, text=wanted.password)
    return Password(wanted.name, place, hash=read_hash(wanted.password.reveal().decode()))


def _of_list(raw: object, context: Context) -> list[Password]:
    lines = raw.splitlines() if isinstance(raw, str) else raw
    if not isinstance(lines, (list, tuple)):
        if raw is not None:
            context.report.refused("chpasswd.list", f"expected lines, got {kind(raw)}")
        return []
    context.report.notice("chpasswd.list", "deprecated, now spelled 'users'")
    found: list[Password] = []
    for n, line in enumerate(lines):
        place = f"chpasswd.list[{n}]"
        # A colon after the name is all that may be said of it: the rest is the secret.
        name, colon, text = line.strip().partition(":") if isinstance(line, str) else ("", "", "")
        if isinstance(line, str) and not line.strip():
            continue
        if not colon or not re.fullmatch(r"[^\s:]+", name) or not text:
            context.report.refused(place, "expected a line 'NAME:PASSWORD'")
        else:
            found.append(_of_text(name, text, place))
    return found


def _of_text(name: str, text: str, place: str) -> Password:
    if text in ("R", "RANDOM"):
        return Password(name, place)
    if is_hash(text):
        return Password(name, place, hash=Secret(text.encode()))
    return Password(name, place, text=Secret(text.encode()))


def _of_default_user(password: Secret, context: Context) -> list[Password]:
    user = default_user(context)
    if user is None:
        context.report.warning("password", "there is no default user to set it for")
        return []
    return [_of_text(user, password.reveal().decode(), "password")]


def _set(password: Password, expire: bool, context: Context) -> bool:
    host = context.host
    user = password.user
    if host.user(user) is None:
        context.report.failed(password.place, f"no such user: {user!r}")
        return False
    obstacle = without_chpasswd(host) if password.hash is None else None
    if obstacle:
        context.report.add(password.place, "not run", obstacle)
        return False
    made_up = password.hash is None and password.text is None
    if made_up and not host.has_console():
        context.report.refused(password.place, NO_CONSOLE)
        return False
    try:
        if password.hash is not None:
            complaint = what_is_wrong_with(password.hash)
            if complaint is not None:
                context.report.warning(password.place, complaint)
            host.set_password_hash(user, password.hash)
        else:
            text = _random() if password.text is None else password.text
            if made_up:
                # Told before it is set: what nobody could learn would lock the account.
                words = b"linklocal-agent made a password: %s: %s\n"
                host.console(Secret(words % (user.encode(), text.reveal())))
            host.set_password(user, text)
        if expire:
            host.expire_password(user)
    except HostError as error:
        context.report.failed(password.place, str(error))
        return False
    return True


def _random() -> Secret:
    import secrets

    return Secret("".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)).encode())


MODULE = Module("set_passwords", SetPasswords, Stage.NETWORK, Frequency.INSTANCE, apply)
