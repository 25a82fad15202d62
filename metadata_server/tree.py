"""A tree of names, listed and looked up as the EC2 and OpenStack metadata services do it. Pure.

A table of entries says what there is. `build` gives its shape at one API version, the same for all
instances; `find` and `grow` ask the entries for one instance, and only those that are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from .instance import Instance

TEXT: Final = "text/plain; charset=UTF-8"
JSON: Final = "application/json"

SLOT: Final = "\0"
"""Stands in a JSON template for the value that a live leaf puts there."""

_SLOT_IN_JSON: Final = rb"\u0000"


@dataclass(frozen=True, slots=True)
class Leaf:
    body: bytes = field(repr=False)
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Live:
    """A leaf made anew for each request, by the maker that *kind* names."""

    kind: Literal[
        "seeded",
        "password",
        "securitykey",
        "role",
        "profile",
        "identity-role",
        "identity-info",
        "vendor",
    ]
    content_type: str = TEXT
    template: bytes = field(default=b"", repr=False)

    def filled(self, value: bytes) -> bytes:
        """Return the template with *value* in its slot."""
        before, _, after = self.template.partition(_SLOT_IN_JSON)
        return b"".join((before, value, after))


@dataclass(frozen=True, slots=True)
class Signed:
    """A leaf that holds the signature of *document* in the form of that name."""

    form: Literal["signature", "pkcs7", "rsa2048"]
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Directory:
    """The names below one path; where it is listed itself, *label* stands for `name/`."""

    children: Mapping[str, Node]
    label: str | None = None


Node: TypeAlias = "Leaf | Live | Signed | Directory"
Value: TypeAlias = "Node | str | None"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree; a *value* of None means that the instance has no such path.

    Text is a leaf of its own. *since* is the API version that brought the path.
    """

    path: str
    since: str
    summary: str
    value: Callable[[Instance, str], Value]

    def node(self, instance: Instance, version: str) -> Node | None:
        value = self.value(instance, version)
        return Leaf(value.encode()) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Branch:
    """The shape of a directory before anything is known of the instance."""

    children: dict[str, Entry | Branch]


def build(entries: Iterable[Entry], version: str) -> Branch:
    """Return the shape of the tree at *version*, with the order of the table."""
    root = Branch({})
    for entry in entries:
        if entry.since > version:
            continue
        *above, name = entry.path.split("/")
        branch = root
        for step in above:
            below = branch.children.setdefault(step, Branch({}))
            if isinstance(below, Entry):
                raise TypeError(f"{entry.path}: {below.path} is an entry already")
            branch = below
        branch.children[name] = entry
    return root


def find(branch: Branch, names: Sequence[str], instance: Instance, version: str) -> Node | None:
    """Return what *instance* has at the path of *names*, None when there is nothing."""
    here: Branch | Entry | Node | None = branch
    for name in names:
        if isinstance(here, Entry):
            here = here.node(instance, version)
        if not isinstance(here, (Branch, Directory)):
            return None
        here = here.children.get(name)
    return _node(here, instance, version) if here is not None else None


def grow(branch: Branch, instance: Instance, version: str) -> Directory | None:
    """Return all that *instance* has below *branch*, None when that is nothing."""
    children = {}
    for name, child in branch.children.items():
        node = _node(child, instance, version)
        if node is not None:
            children[name] = node
    return Directory(children) if children else None


def descend(node: Node | None, names: Sequence[str]) -> Node | None:
    """Return the node at the path of *names* below *node*, None when there is nothing."""
    for name in names:
        if not isinstance(node, Directory):
            return None
        node = node.children.get(name)
    return node


def graft(directory: Directory, names: Sequence[str], leaf: Leaf) -> Directory:
    """Return *directory* with *leaf* at the path of *names*, in the place of what was there."""
    name, *rest = names
    node: Node = leaf
    if rest:
        below = directory.children.get(name)
        node = graft(below if isinstance(below, Directory) else Directory({}), rest, leaf)
    return Directory({**directory.children, name: node}, directory.label)


def listing(directory: Directory, *, in_order: bool = False) -> str:
    """Return one name a line, directories with a slash, and no newline at the end.

    Names are sorted, or *in_order* of the table.
    """
    names = directory.children if in_order else sorted(directory.children)
    return "\n".join(_line(name, directory.children[name]) for name in names)


def _line(name: str, node: Node) -> str:
    if isinstance(node, Directory):
        return node.label or f"{name}/"
    return name


def _node(child: Branch | Entry | Node, instance: Instance, version: str) -> Node | None:
    if isinstance(child, Branch):
        return grow(child, instance, version)
    if isinstance(child, Entry):
        return child.node(instance, version)
    return child
