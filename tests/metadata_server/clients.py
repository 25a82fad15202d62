"""Real clients of metadata services, unmodified: `python -m tests.metadata_server.clients NAME`.

Each prints what it learned as JSON. They run in processes of their own, with their own environment.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

ADDRESS = "169.254.169.254"


def botocore_credentials() -> dict[str, Any]:
    from botocore.exceptions import MetadataRetrievalError
    from botocore.session import Session
    from botocore.utils import IMDSRegionProvider

    # Made of the session, so that both ask the endpoint of the environment and no other.
    session = Session()
    try:
        found = session.get_credentials()
    except MetadataRetrievalError as error:
        return {"method": None, "error": str(error)}
    if found is None:
        return {"method": None}
    frozen = found.get_frozen_credentials()
    return {
        "method": found.method,
        "access": frozen.access_key,
        "secret": frozen.secret_key,
        "token": frozen.token,
        "region": IMDSRegionProvider(session).provide(),
    }


def ec2_metadata_reader() -> dict[str, Any]:
    from ec2_metadata import ec2_metadata

    interface = ec2_metadata.network_interfaces[ec2_metadata.mac]
    return {
        "account_id": ec2_metadata.account_id,
        "ami_launch_index": ec2_metadata.ami_launch_index,
        "availability_zone": ec2_metadata.availability_zone,
        "iam_info": ec2_metadata.iam_info,
        "credentials": ec2_metadata.iam_security_credentials,
        "instance_id": ec2_metadata.instance_id,
        "instance_type": ec2_metadata.instance_type,
        "private_ipv4": ec2_metadata.private_ipv4,
        "public_ipv4": ec2_metadata.public_ipv4,
        "region": ec2_metadata.region,
        "security_groups": ec2_metadata.security_groups,
        "tags": dict(ec2_metadata.tags),
        "user_data": (ec2_metadata.user_data or b"").decode("latin-1"),
        "interface": {
            "device_number": interface.device_number,
            "ipv4_associations": interface.ipv4_associations,
            "ipv6s": interface.ipv6s,
            "private_ipv4s": interface.private_ipv4s,
            "subnet": interface.subnet_ipv4_cidr_block,
            "vpc": interface.vpc_ipv4_cidr_blocks,
        },
    }


def huawei_credentials() -> dict[str, Any]:
    from huaweicloudsdkcore.auth.provider import MetadataCredentialProvider
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

    provider = MetadataCredentialProvider.get_basic_credential_metadata_provider()
    provider.project_id = "0" * 32
    try:
        found = provider.get_credentials()
    except ClientRequestException as error:
        return {"status": error.status_code, "message": error.error_msg}
    accessor: Any = found.sts_accessor
    return {
        "ak": found.ak,
        "sk": found.sk,
        "token": found.security_token,
        "with_token": accessor._token is not None,
    }


def hops() -> dict[str, Any]:
    """Tell the IP TTL of each segment that the service sends: for a leaf, a token, and both."""
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    capture.bind(("lo", 0))
    capture.settimeout(0.2)
    seen: list[tuple[int, bytes]] = []
    end = threading.Event()

    def listen() -> None:
        while not end.is_set():
            try:
                packet = capture.recv(65535)
            except TimeoutError:
                continue
            length = (packet[0] & 15) * 4
            port = struct.unpack_from("!H", packet, length)[0]
            body = packet[length + (packet[length + 12] >> 4) * 4 :]
            if packet[9] == socket.IPPROTO_TCP and port == 80 and body:
                seen.append((packet[8], body))

    thread = threading.Thread(target=listen)
    thread.start()
    get = f"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode()
    put = (
        f"PUT /latest/api/token HTTP/1.1\r\nHost: {ADDRESS}\r\n"
        "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
    ).encode()
    for requests in ((get,), (put, get)):
        with socket.create_connection((ADDRESS, 80), timeout=5) as link:
            for request in requests:
                before = len(seen)
                link.sendall(request)
                link.recv(65535)
                while len(seen) == before:  # The capture is a thread's; it is never far behind.
                    end.wait(0.01)
    end.set()
    thread.join()
    capture.close()
    return {"ttl": [ttl for ttl, _ in seen]}


CLIENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "botocore": botocore_credentials,
    "ec2-metadata": ec2_metadata_reader,
    "huawei": huawei_credentials,
    "hops": hops,
}

if __name__ == "__main__":
    print(json.dumps(CLIENTS[sys.argv[1]]()))
