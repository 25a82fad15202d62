"""A host that records what would be done and does nothing; it reads what it recorded."""

from typing import NamedTuple

from .host import Host


class Effect(NamedTuple):
    """One change in words that hold no secret."""

    verb: str
    """write, append, directory, remove, link, run, group, user, …"""
    target: str
    detail: str


class Plan(Host):
    """*host* under a layer of memory: every change is kept there and in `effects`."""

    effects: list[Effect]

    def __init__(self, host: Host) -> None:
        super().__init__(host.root)
        self.effects = []
