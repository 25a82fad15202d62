"""How a new instance lets its owner in: the login mode's own user data. Pure."""

from __future__ import annotations

from .instance import Instance
from .reset.policy import FIRST_USER
from .secret import Secret


def served_user_data(instance: Instance) -> Secret | None:
    """Return the user data the guest reads: its own, or what sets the password of its login mode.

    A Linux instance with a password has no user data of its own, and gets the script that the
    platform injects: any agent runs it at the first boot. Windows sets its password by itself.
    """
    if instance.user_data is not None:
        return instance.user_data
    hashed = instance.password_hash
    if instance.login_mode != "password" or hashed is None or instance.os_type != "Linux":
        return None
    # A hash has no quotes, and echo is the shell's own: no other process sees its arguments.
    line = FIRST_USER["Linux"].encode() + b":" + hashed.reveal()
    return Secret(b"#!/bin/sh\necho '" + line + b"' | chpasswd -e\n")
