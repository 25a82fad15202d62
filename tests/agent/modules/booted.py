"""A light guest, booted with cloud-configs by the distribution's own Python."""

from __future__ import annotations

import json
from typing import Any

from ...guests.cloud import CHECKOUT
from ...guests.light import LightGuest


class Booted:
    """A guest, booted with cloud-configs."""

    def __init__(self, guest: LightGuest) -> None:
        self.guest = guest

    def boot(self, document: str, instance: str = "i-1") -> dict[str, Any]:
        """Run all stages with that cloud-config, or other user data; return the status."""
        guest = self.guest
        if not document.startswith(("#", "MIME")):
            document = f"#cloud-config\n{document}\n"
        guest.write("/root/user-data", document.encode(), mode=0o600)
        guest.write("/etc/machine-id", f"{instance}\n".encode())
        done = guest.run(
            ["python3", "-m", "agent", "run", "--user-data", "/root/user-data"], cwd=str(CHECKOUT)
        )
        assert guest.exists("/run/linklocal/status.json"), done.stderr.decode()
        found: dict[str, Any] = json.loads(guest.read("/run/linklocal/status.json"))
        return found

    def entries(self, document: str, instance: str = "i-1") -> list[tuple[str, str]]:
        """Return what is not plainly done of that boot."""
        return [
            (entry["result"], entry["place"])
            for module in self.boot(document, instance)["modules"]
            for entry in module.get("entries", ())
            if entry["result"] not in ("done", "notice")
        ]
