"""A guest that is a directory: what a first boot makes of it, without root or a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from .served import ServedInstance

FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\n",
    "etc/gshadow": "root:*::\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n',
}
TIMEOUT: Final = 120.0


@dataclass(frozen=True)
class Boot:
    """What a boot said of itself."""

    exit_status: int
    output: str
    status: dict[str, Any]
    """The content of status.json (docs/status.md)."""

    @property
    def is_good(self) -> bool:
        """Whether all that was asked for was done."""
        done = self.status.get("status") == "done" and not self.status.get("degraded")
        return self.exit_status == 0 and done


class GuestDirectory:
    """A small file system below *path*, with the accounts of a fresh Debian."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in FILES.items():
            self.write(name, text)
        (path / "etc/shadow").chmod(0o600)

    def boot(self, instance: ServedInstance, *options: str) -> Boot:
        """Run the agent of this installation over the directory, as that instance."""
        module = "linklocal.agent" if _is_there("linklocal.agent") else "agent"
        ran = subprocess.run(
            [
                *(sys.executable, "-m", module, "run", "--quiet", "--root", str(self.path)),
                *("--datasource", "openstack", "--metadata-url", instance.url, *options),
            ],
            capture_output=True,
            check=False,
            text=True,
            timeout=TIMEOUT,
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
        status = self.path / "run/linklocal/status.json"
        known = json.loads(status.read_text()) if status.exists() else {}
        return Boot(ran.returncode, ran.stdout + ran.stderr, known)

    def text(self, path: str) -> str:
        return (self.path / path.lstrip("/")).read_text()

    def exists(self, path: str) -> bool:
        return (self.path / path.lstrip("/")).exists()

    def mode(self, path: str) -> int:
        return (self.path / path.lstrip("/")).stat().st_mode & 0o7777

    def write(self, path: str, text: str) -> None:
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
