"""The hosts of a batch: host_list.txt, an address a line, with root's password or without."""

from __future__ import annotations

import os
import stat
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.utils.unsafe_proxy import wrap_var

DOCUMENTATION = """
name: linklocal_hosts
short_description: An address a line, and a password after a comma where there is no key
description:
  - Lines such as 192.168.1.10 or 192.168.1.11,'password'; those with # and empty ones are not read.
  - A file with passwords must be readable by its owner alone.
options: {}
"""


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # ansible has no types
    NAME = "linklocal_hosts"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith("host_list.txt")

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().splitlines()
        for number, line in enumerate(map(str.strip, lines), 1):
            if not line or line.startswith("#"):
                continue
            host, comma, password = (part.strip() for part in line.partition(","))
            if not host or " " in host or (comma and not password):
                expected = "expected an address, or an address, a comma and a password"
                raise AnsibleParserError(f"{path}:{number}: {expected}")
            inventory.add_host(host)
            inventory.set_variable(host, "ansible_user", "root")
            if password:
                if stat.S_IMODE(mode) & 0o077:
                    raise AnsibleParserError(f"{path}: holds passwords: chmod 600 it")
                inventory.set_variable(host, "ansible_password", unquoted(password))


def unquoted(password: str) -> Any:
    """Return *password* without the quotes around it, as text that is never a template."""
    if len(password) > 1 and password[0] == password[-1] and password[0] in "'\"":
        password = password[1:-1]
    # ansible-core before 2.19 takes any text for a template that is not marked.
    return wrap_var(password)
