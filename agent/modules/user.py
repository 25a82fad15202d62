"""A user as a cloud-config has one: its keys, and how each is read."""

import re
from typing import Annotated, NamedTuple, Optional

from ..secret import Secret
from .authorized_keys import read_keys
from .readers import (
    kind,
    read_hash,
    read_line,
    read_name,
    read_names,
    read_path,
    read_text_password,
    read_words,
)


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
