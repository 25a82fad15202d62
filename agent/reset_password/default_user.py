"""The image's default user, as the agent's boot knows it."""

from typing import Optional

from ..config import DEFAULT_USERS
from .inside import read_inside


def default_user(root: str) -> Optional[str]:
    """Return the name for the distribution below *root*; None when it is not known."""
    said = {}
    for name in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            lines = read_inside(root, name).decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition("=")
            said[key] = value.strip().strip("\"'").lower()
        break
    words = (said.get("ID", ""), *said.get("ID_LIKE", "").split())
    return next((DEFAULT_USERS[word] for word in words if word in DEFAULT_USERS), None)
