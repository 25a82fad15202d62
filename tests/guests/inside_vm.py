"""The inside of a virtual machine: runs what the test asks for over a virtio port.

A program for the guest's own Python. A message is one line of JSON; bytes in it are base64.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from typing import Any

PORT = "/dev/virtio-ports/org.linklocal.test"


class Hand:
    def __init__(self) -> None:
        self._port = os.open(PORT, os.O_RDWR)
        self._turn = threading.Lock()

    def say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._turn:
            while line:
                line = line[os.write(self._port, line) :]

    def run(self, request: dict[str, Any]) -> None:
        message: dict[str, Any] = {"id": request["id"], "status": 127}
        out, err = b"", b""
        try:
            done = subprocess.run(
                request["argv"],
                input=base64.b64decode(request["input"]),
                env=request["env"],
                cwd=request["cwd"],
                capture_output=True,
                timeout=request["timeout"],
            )
            message["status"], out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            message["late"], out, err = True, error.stdout or b"", error.stderr or b""
        except OSError as error:
            err = f"{request['argv'][0]}: {error.strerror}\n".encode()
        message["out"] = base64.b64encode(out).decode()
        message["err"] = base64.b64encode(err).decode()
        self.say(message)

    def serve(self) -> None:
        self.say({"hello": os.getpid()})
        rest = b""
        while chunk := os.read(self._port, 1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                threading.Thread(target=self.run, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    Hand().serve()
