"""The clouds' unmodified clients reset a password, and a guest's daemon really sets it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkecs import v2 as ecs
from keystoneauth1 import session, token_endpoint
from novaclient import client as novaclient

from metadata_server.server import Server

from .conftest import Serve
from .guests.passwords import opens
from .metadata_server.dialects import GOOD, ID, ONE, OTHER, PROJECT, WINDOWS, call, resets
from .test_reset_end_to_end import Machine
from .test_reset_end_to_end import machine as machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

KNOWN = {**ONE, "identify": {"addresses": ["127.0.0.1"]}}
ACCESS, SECRET = "AKIDEXAMPLE", "sk-canary-0123456789"


@pytest.fixture
async def server(serve: Serve, tmp_path: Path) -> Server:
    keys = tmp_path / "access-keys"
    keys.touch(0o600)
    keys.write_text(f"{ACCESS}:{SECRET}\n")
    control = {"listen": "127.0.0.1:0", "access_keys_file": str(keys)}
    hashing = {"sha512": 1000}
    return await asyncio.to_thread(serve, KNOWN, WINDOWS, OTHER, control=control, hashing=hashing)


def nova_changes(server: Server, password: str) -> None:
    auth = token_endpoint.Token(f"{server.control_url}/v2.1/{PROJECT}", server.token)
    keystone = session.Session(auth=auth)
    try:
        novaclient.Client("2.1", session=keystone).servers.change_password(ID, password)
    finally:
        keystone.session.close()


def huawei(server: Server) -> Any:
    credentials = BasicCredentials(ACCESS, SECRET, PROJECT)
    builder = ecs.EcsClient.new_builder().with_credentials(credentials)
    return builder.with_endpoints([server.control_url]).build()


def huawei_resets(server: Server, password: str) -> None:
    option = ecs.ResetServerPasswordOption(new_password=password)
    body = ecs.ResetServerPasswordRequestBody(reset_password=option)
    huawei(server).reset_server_password(ecs.ResetServerPasswordRequest(server_id=ID, body=body))


def huawei_resets_many(server: Server, password: str) -> None:
    servers = [ecs.ServerId(id=each) for each in (ID, "win-1")]
    body = ecs.BatchResetServersPasswordRequestBody(new_password=password, servers=servers)
    request = ecs.BatchResetServersPasswordRequest(body=body)
    answer = huawei(server).batch_reset_servers_password(request)
    assert [each.id for each in answer.response] == [ID, "win-1"]


@pytest.mark.parametrize(
    ("reset", "waits_for_boot"),
    [(nova_changes, False), (huawei_resets, True), (huawei_resets_many, True)],
    ids=["novaclient", "huaweicloudsdkecs", "huaweicloudsdkecs, many"],
)
async def test_what_a_client_asks_for_the_guest_sets(
    server: Server,
    machine: Machine,
    reset: Callable[[Server, str], None],
    waits_for_boot: bool,
) -> None:
    async with machine.daemon(server.guest_url):
        await asyncio.to_thread(reset, server, GOOD)
        (asked,) = await asyncio.to_thread(resets, server, ID)
        if not waits_for_boot:
            await until_applied(server, asked["id"])
        before_boot = machine.shadow["root"][0]
    machine.reboot()
    async with machine.daemon(server.guest_url):
        await until_applied(server, asked["id"])

    assert opens(before_boot, GOOD) != waits_for_boot
    assert opens(machine.shadow["root"][0], GOOD)


async def test_the_flag_says_whether_the_guest_has_a_daemon(
    server: Server, machine: Machine
) -> None:
    def flag() -> str:
        request = ecs.ShowResetPasswordFlagRequest(server_id=ID)
        return str(huawei(server).show_reset_password_flag(request).resetpwd_flag)

    before = await asyncio.to_thread(flag)
    async with machine.daemon(server.guest_url):
        after = await asyncio.to_thread(flag)

    assert (before, after) == ("False", "True")


async def until_applied(server: Server, request_id: str) -> None:
    path = f"/linklocal/v1/instances/{ID}/reset-password/{request_id}?wait=30"
    _, found, _ = await asyncio.to_thread(call, server, "GET", path)
    assert found["state"] == "applied"
