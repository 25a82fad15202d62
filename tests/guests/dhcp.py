"""A DHCP server for one guest: gives what it is told to whoever asks. A program for `test_sources`.

Arguments: the address to give, the device, then options as NUMBER=HEX.
"""

from __future__ import annotations

import socket
import sys

MAGIC = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
SERVER = bytes([169, 254, 169, 254])


def kind_of(packet: bytes) -> int:
    """Return the message type, option 53; 0 when there is none."""
    at = 240
    while at + 2 < len(packet) and packet[at] != 255:
        if packet[at] == 53:
            return packet[at + 2]
        at += 1 if packet[at] == 0 else 2 + packet[at + 1]
    return 0


def answer(packet: bytes, kind: int, address: bytes, options: bytes) -> bytes:
    head = (
        b"\x02\x01\x06\x00" + packet[4:8] + b"\0\0\x80\0" + bytes(4) + address + SERVER + bytes(4)
    )
    fixed = bytes([53, 1, kind, 54, 4]) + SERVER + b"\x33\x04\0\0\x0e\x10"
    return head + packet[28:44] + bytes(192) + MAGIC + fixed + options + b"\xff"


def main() -> None:
    address, device, *words = sys.argv[1:]
    options = b""
    for word in words:
        number, _, text = word.partition("=")
        content = bytes.fromhex(text)
        options += bytes([int(number), len(content)]) + content
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        server.bind(("", 67))
        sys.stdout.write("dhcp ready\n")
        sys.stdout.flush()
        while True:
            packet = server.recv(2048)
            kind = {DISCOVER: OFFER, REQUEST: ACK}.get(kind_of(packet))
            if kind:
                sys.stdout.write(f"{kind}\n")
                sys.stdout.flush()
                reply = answer(packet, kind, socket.inet_aton(address), options)
                server.sendto(reply, ("255.255.255.255", 68))


if __name__ == "__main__":
    main()
