"""What a path means for an instance, over all trees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from . import ec2, openstack
from .instance import Instance
from .tree import Branch, Directory, Leaf, Node, descend, find, graft, grow

Names = tuple[str, ...]

EC2_TOKEN: Final = ("api", "token")
HUAWEI_TOKEN: Final = ("meta-data", "latest", "api", "token")
RESET: Final = ("linklocal", "v1", "reset-password")
BOOT_REPORT: Final = ("linklocal", "v1", "boot-report")
PLATFORM_RESET: Final = (
    ("openstack", "latest", "resetpwd_flag"),
    ("openstack", "latest", "reset_password"),
)
"""Where the platform's own reset daemon asks; only some instances have them, and in no listing."""

ROOTS: Final[tuple[Names, ...]] = ((), ("ec2",))
VERSIONS: Final = "\n".join(ec2.SHAPES)
"""What is at a root for whoever has no further paths there."""


def read_path(raw: str) -> Names | None:
    """Return the names on the path of a request target, None when it can be no path.

    Repeated and trailing slashes mean nothing, `.` and `..` are what they are in file names.
    """
    if not raw.startswith("/"):
        # The absolute form, as a client sends it to a proxy.
        try:
            parts = urlsplit(raw)
        except ValueError:
            return None
        if parts.scheme not in ("http", "https"):
            return None
        raw = parts.path
    raw = raw.partition("?")[0].partition("#")[0]
    # A target that was not UTF-8 arrives with surrogates in the place of its bytes.
    try:
        path = unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None
    if "\0" in path:
        return None
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return tuple(names)


def resolve(instance: Instance, names: Names) -> Node | None:
    """Return what is at the path of *names* for *instance*, None when there is nothing."""
    if names[:1] == ("ec2",):
        names = names[1:]
    head, rest = names[:1], names[1:]
    if head == ("openstack",):
        if rest[:1] == ("content",):
            # Known by their numbers from meta_data.json; there is no listing.
            return descend(openstack.content(instance), rest[1:]) if rest[1:] else None
        return _below(instance, openstack.SHAPES, head, rest)
    return _below(instance, ec2.SHAPES, (), names)


def in_order(names: Names) -> bool:
    """Say whether a directory at *names* is listed in the order of its table, not sorted."""
    return names[:1] == ("openstack",)


def _below(
    instance: Instance, shapes: Mapping[str, Branch], above: Names, names: Names
) -> Node | None:
    """Return the node at *names* below the directory *above*, whose first names are versions."""
    version = names[0] if names else None
    shape = shapes.get(version) if version is not None else None
    extras = _extras(instance, above)
    if shape is None or version is None:
        versions = {name: Directory({}, label=name) for name in shapes}
        root = _grafted(Directory(versions), [each for each in extras if each[0][0] not in shapes])
        found = descend(root, names)
        return None if isinstance(found, Directory) and not found.children else found
    below = [(path[1:], leaf) for path, leaf in extras if path[0] == version and path[1:]]
    if not below:
        return find(shape, names[1:], instance, version)
    tree = grow(shape, instance, version) or Directory({})
    return descend(_grafted(tree, below), names[1:])


def _extras(instance: Instance, above: Names) -> list[tuple[Names, Leaf]]:
    """Return the instance's further paths below *above*, without it, and what they hold."""
    found = []
    for path, text in instance.extra.items():
        names = read_path("/" + path.lstrip("/")) or ()
        if names[:1] == ("ec2",):
            names = names[1:]
        if not above and names[:1] == ("openstack",):
            continue
        if names[: len(above)] == above and names[len(above) :]:
            found.append((names[len(above) :], Leaf(text.encode())))
    return found


def _grafted(directory: Directory, leaves: list[tuple[Names, Leaf]]) -> Directory:
    for names, leaf in leaves:
        directory = graft(directory, names, leaf)
    return directory
