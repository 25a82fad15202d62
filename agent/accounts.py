"""Users and groups as /etc/passwd, group, shadow and gshadow hold them: read, and edited as text.

Nothing here touches a file. Lines that are not understood (comments, NIS) stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from .errors import HostError
from .secret import Secret

PASSWD, SHADOW, GROUP, GSHADOW = "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"


class User(NamedTuple):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str


class Group(NamedTuple):
    """A line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


class Account(NamedTuple):
    """A user to be made. None leaves the choice to the distribution's useradd."""

    name: str
    uid: Optional[int] = None
    gecos: str = ""
    home: Optional[str] = None
    shell: Optional[str] = None
    primary_group: Optional[str] = None
    groups: tuple[str, ...] = ()
    system: bool = False
    create_home: bool = True
    create_user_group: bool = True
    log_init: bool = True
    inactive: Optional[str] = None
    """Days after the password expired."""
    expiredate: Optional[str] = None
    """YYYY-MM-DD."""
    selinux_user: Optional[str] = None


def find_user(passwd: bytes, name: str) -> Optional[User]:
    """Return the user of that name in the text of a passwd file."""
    fields = _find(_lines(passwd), name, 7)
    return None if fields is None else _user(fields)


def find_group(group: bytes, name: str) -> Optional[Group]:
    """Return the group of that name in the text of a group file."""
    fields = _find(_lines(group), name, 4)
    return None if fields is None else _group(fields)


def find_shadow_field(shadow: bytes, name: str) -> Optional[Secret]:
    """Return the password field of that user in the text of a shadow file."""
    fields = _find(_lines(shadow), name, 2)
    return None if fields is None else Secret(fields[1].encode("utf-8", "surrogateescape"))


def number(text: str) -> Optional[int]:
    """Return *text* as the number of a user or group, None when it is none.

    The last of 32 bits means "as it is" to the system, and would leave a file with root.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    value = int(text)
    return value if value < 2**32 - 1 else None


def home_mode(login_defs: Mapping[str, str]) -> int:
    """Return the mode of new homes by login.defs."""
    for key, given in (("HOME_MODE", 0), ("UMASK", 0o777)):
        text = login_defs.get(key, "")
        if text and not text.strip("01234567"):
            return (int(text, 8) ^ given) & 0o777
    return 0o755


def check_name(what: str, name: str) -> None:
    """Refuse what no account file can hold, or what a tool would take for an option."""
    if (
        not name
        or len(name) > 32
        or name.startswith(("-", "+", "~"))
        or name in (".", "..")
        or name.isdigit()
        or not name.isascii()
        or any(character <= " " or character in ':,/\\"#\x7f' for character in name)
    ):
        raise HostError(f"{what} {name!r}: expected a name such as 'alice'")


def check_account(account: Account) -> None:
    """Refuse an account that would break a line of passwd or an argument of useradd."""
    check_name("add user", account.name)
    for field in ("gecos", "home", "shell"):
        value = getattr(account, field) or ""
        if ":" in value or any(ord(character) < 32 for character in value):
            raise HostError(f"add user {account.name}: {field} must not hold ':' or a line end")
    if account.home is not None and not account.home.startswith("/"):
        raise HostError(f"add user {account.name}: home is not an absolute path: {account.home!r}")
    if account.shell and not account.shell.startswith("/"):
        raise HostError(
            f"add user {account.name}: shell is not an absolute path: {account.shell!r}"
        )
    for group in (account.primary_group, *account.groups):
        if group is not None and number(group) is None:
            check_name("group", group)


def settings(text: Optional[bytes]) -> dict[str, str]:
    """Return the settings of login.defs (`KEY value`) or default/useradd (`KEY=value`)."""
    found = {}
    for line in (text or b"").decode("utf-8", "replace").splitlines():
        words = line.partition("#")[0].replace("=", " ", 1).split(None, 1)
        if len(words) == 2:
            found[words[0]] = words[1].strip().strip('"')
    return found


class Tables:
    """The four account files of one guest, to be changed together; `changed` says what to write."""

    def __init__(self, texts: Mapping[str, Optional[bytes]], today: int) -> None:
        self._before = texts
        self._today = str(today)
        self._tables = {path: _lines(text or b"") for path, text in texts.items()}

    def changed(self) -> list[tuple[str, bytes]]:
        """Return path and text of each file that is to be written, passwd last.

        A user that is cut off half-way is then not there yet, and never one without a shadow line.
        """
        texts = []
        for path in (GROUP, GSHADOW, SHADOW, PASSWD):
            text = "".join(f"{':'.join(fields)}\n" for fields in self._tables[path])
            content = text.encode("utf-8", "surrogateescape")
            if content.rstrip(b"\n") != (self._before[path] or b"").rstrip(b"\n"):
                texts.append((path, content))
        return texts

    def user(self, name: str) -> Optional[User]:
        """Return the user of that name."""
        fields = _find(self._tables[PASSWD], name, 7)
        return None if fields is None else _user(fields)

    def group(self, name: str) -> Optional[Group]:
        """Return the group of that name, or of that number when there is no such name."""
        fields = _find(self._tables[GROUP], name, 4)
        if fields is None and number(name) is not None:
            same = [f for f in self._tables[GROUP] if len(f) == 4 and f[2] == name]
            fields = same[0] if same else None
        return None if fields is None else _group(fields)

    def add_group(
        self, name: str, gid: Optional[int], system: bool, login_defs: Mapping[str, str]
    ) -> int:
        """Add a group and return its number; the next free one when *gid* is None."""
        check_name("add group", name)
        if self.group(name) is not None:
            raise HostError(f"add group {name}: exists already")
        used = self._numbers(GROUP)
        if gid is None:
            gid = _free("GID", used, system, login_defs)
        elif gid in used:
            raise HostError(f"add group {name}: gid {gid} is taken")
        self._tables[GROUP].append([name, "x", str(gid), ""])
        if self._before[GSHADOW] is not None:
            self._tables[GSHADOW].append([name, "!", "", ""])
        return gid

    def add_user(
        self, account: Account, login_defs: Mapping[str, str], defaults: Mapping[str, str]
    ) -> User:
        """Add a user whose password is locked, in the groups asked for."""
        check_account(account)
        name = account.name
        if self.user(name) is not None:
            raise HostError(f"add user {name}: exists already")
        uids = self._numbers(PASSWD)
        uid = account.uid
        if uid is None:
            uid = _free("UID", uids, account.system, login_defs)
        elif uid in uids:
            raise HostError(f"add user {name}: uid {uid} is taken")
        gid = self._primary_group(account, uid, login_defs, defaults)
        user = User(
            name,
            uid,
            gid,
            account.gecos,
            account.home or f"{defaults.get('HOME', '/home').rstrip('/')}/{name}",
            account.shell or defaults.get("SHELL", "/bin/sh"),
        )
        line = [name, "x", str(uid), str(gid), user.gecos, user.home, user.shell]
        self._tables[PASSWD].append(line)
        expires = "" if account.expiredate is None else str(_days(name, account.expiredate))
        inactive = account.inactive if account.inactive is not None else ""
        if inactive and not (inactive.isascii() and inactive.lstrip("-").isdigit()):
            raise HostError(f"add user {name}: inactive: expected days, got {inactive!r}")
        ages = [login_defs.get(f"PASS_{word}", "") for word in ("MIN_DAYS", "MAX_DAYS", "WARN_AGE")]
        if account.system:
            ages = ["", "", ""]
        shadow = [f for f in self._tables[SHADOW] if f[0] != name]
        shadow.append([name, "!", self._today, *ages, inactive.replace("-1", ""), expires, ""])
        self._tables[SHADOW] = shadow
        self.add_to_groups(name, account.groups)
        return user

    def add_to_groups(self, user: str, groups: Sequence[str]) -> None:
        """Make *user* a member of each group; HostError when one does not exist."""
        for wanted in groups:
            group = self.group(wanted)
            if group is None:
                raise HostError(f"user {user}: no such group: {wanted!r}")
            for path in (GROUP, GSHADOW):
                fields = _find(self._tables[path], group.name, 4)
                if fields is not None:
                    members = _members(fields[3])
                    if user not in members:
                        fields[3] = ",".join([*members, user])

    def set_password_field(self, user: str, field: str) -> None:
        """Put *field* in the user's shadow line, changed today."""
        fields = self._shadow(user)
        fields[1] = field
        fields[2] = self._today

    def lock_password(self, user: str) -> None:
        """Put `!` before the user's password field, once."""
        fields = self._shadow(user)
        if not fields[1].startswith("!"):
            fields[1] = f"!{fields[1]}"

    def expire_password(self, user: str) -> None:
        """Have the user's password changed at the next login."""
        self._shadow(user)[2] = "0"

    def _shadow(self, user: str) -> list[str]:
        if self.user(user) is None:
            raise HostError(f"user {user}: no such user")
        fields = _find(self._tables[SHADOW], user, 3)
        if fields is None:
            fields = [user, "!", self._today, "", "", "", "", "", ""]
            self._tables[SHADOW].append(fields)
        return fields

    def _primary_group(
        self,
        account: Account,
        uid: int,
        login_defs: Mapping[str, str],
        defaults: Mapping[str, str],
    ) -> int:
        name = account.name
        wanted = account.primary_group
        if wanted is None and not account.create_user_group:
            wanted = defaults.get("GROUP", "100")
            gid = number(wanted)
            if self.group(wanted) is None and gid is not None:
                return gid
        if wanted is not None:
            group = self.group(wanted)
            if group is None:
                raise HostError(f"add user {name}: no such group: {wanted!r}")
            return group.gid
        group = self.group(name)
        if group is not None:
            return group.gid
        same = None if uid in self._numbers(GROUP) else uid
        return self.add_group(name, same, account.system, login_defs)

    def _numbers(self, path: str) -> set[int]:
        found = (number(fields[2]) for fields in self._tables[path] if len(fields) > 3)
        return {each for each in found if each is not None}


def _lines(text: bytes) -> list[list[str]]:
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    return [line.split(":") for line in lines if line]


def _find(lines: Sequence[list[str]], name: str, length: int) -> Optional[list[str]]:
    for fields in lines:
        if fields[0] == name and len(fields) >= length:
            return fields
    return None


def _user(fields: list[str]) -> Optional[User]:
    name, _, uid, gid, gecos, home, shell = fields[:7]
    numbers = number(uid), number(gid)
    if numbers[0] is None or numbers[1] is None:
        return None
    return User(name, numbers[0], numbers[1], gecos, home, shell)


def _group(fields: list[str]) -> Optional[Group]:
    gid = number(fields[2])
    return None if gid is None else Group(fields[0], gid, tuple(_members(fields[3])))


def _members(field: str) -> list[str]:
    return [member for member in field.split(",") if member]


def _free(kind: str, used: set[int], system: bool, login_defs: Mapping[str, str]) -> int:
    """Return the number shadow-utils would take: above the last, for the system below the first."""
    low = _number(login_defs, f"SYS_{kind}_MIN" if system else f"{kind}_MIN", 101, 1000, system)
    high = _number(login_defs, f"SYS_{kind}_MAX" if system else f"{kind}_MAX", 999, 60000, system)
    if system:
        order = range(high, low - 1, -1)
    else:
        last = max((number for number in used if low <= number <= high), default=low - 1)
        order = range(last + 1, high + 1)
    for numbers in (order, range(low, high + 1)):
        for number in numbers:
            if number not in used:
                return number
    raise HostError(f"no free {kind.lower()} from {low} to {high}")


def _number(
    login_defs: Mapping[str, str], key: str, for_system: int, for_people: int, system: bool
) -> int:
    text = login_defs.get(key, "")
    found = number(text)
    return found if found is not None else (for_system if system else for_people)


def _days(name: str, date: str) -> int:
    from datetime import date as day

    try:
        return (day.fromisoformat(date) - day(1970, 1, 1)).days
    except ValueError as error:
        raise HostError(
            f"add user {name}: expiredate: expected YYYY-MM-DD, got {date!r}"
        ) from error
