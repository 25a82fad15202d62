"""A network of its own in which 169.254.169.254 is ours, for clients that know no other address.

`unshare --net python -m tests.metadata_server.private_network CONFIG COMMAND…` serves CONFIG there
and runs COMMAND. In any other network it refuses: what has that address may be a real cloud.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import sys

ADDRESS = "169.254.169.254"

SIOCSIFADDR = 0x8916
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def raise_loopback() -> None:
    """Give the loopback interface its own address and the service's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        for name, address in (("lo", "127.0.0.1"), ("lo:0", ADDRESS)):
            where = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(link, SIOCSIFADDR, struct.pack("16s16s", name.encode(), where))
            fcntl.ioctl(link, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), IFF_UP))


def main(config: str, *command: str) -> int:
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        print("expected a network with nothing in it", file=sys.stderr)
        return 2
    raise_loopback()
    server = subprocess.Popen(
        [sys.executable, "-m", "metadata_server", "--config", config],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if server.stdout is None or not server.stdout.readline():
            return 3
        return subprocess.run(command, check=False, timeout=60).returncode
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
