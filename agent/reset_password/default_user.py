"""The image's default user, as the agent's boot knows it."""

import os
from typing import Optional

from ..config import DEFAULT_USERS


def default_user(root: str) -> Optional[str]:
    """Return the name for the distribution below *root*; None when it is not known."""
    said = {}
    for name in ("etc/os-release", "usr/lib/os-release"):
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition("=")
            said[key] = value.strip().strip("\"'").lower()
        break
    words = (said.get("ID", ""), *said.get("ID_LIKE", "").split())
    return next((DEFAULT_USERS[word] for word in words if word in DEFAULT_USERS), None)
