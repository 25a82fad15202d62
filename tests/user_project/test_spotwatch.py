"""The tests of that library, with the fixtures that come with linklocal."""

from __future__ import annotations

from typing import Any

import pytest

from .spotwatch import Metadata, MetadataError, drained

WORK = ["a", "b"]
TYPE = "/latest/meta-data/instance-type"


def test_work_is_laid_down_at_a_spot_notice(metadata_instance: Any) -> None:
    client = Metadata(metadata_instance.url)
    assert drained(client, WORK) == WORK

    metadata_instance.interrupt(120)

    assert drained(client, WORK) == []
    notice = client.notice()
    assert notice is not None
    assert notice["action"] == "terminate"


def test_a_notice_that_is_called_off_is_forgotten(metadata_instance: Any) -> None:
    client = Metadata(metadata_instance.url)
    metadata_instance.interrupt(120, action="stop")
    assert drained(client, WORK) == []

    metadata_instance.cancel("spot")

    assert drained(client, WORK) == WORK


def test_two_errors_are_outlived(metadata_instance: Any) -> None:
    metadata_instance.fail(TYPE, status=503, first=2)

    assert Metadata(metadata_instance.url).get(TYPE) == "s3.medium.2"

    metadata_instance.assert_asked(TYPE, times=2, status=503)
    metadata_instance.assert_asked(TYPE, times=1, status=200, token="good")


def test_errors_without_end_are_given_up(metadata_instance: Any) -> None:
    metadata_instance.fail(TYPE, status=500)

    with pytest.raises(MetadataError, match="gave up"):
        Metadata(metadata_instance.url).get(TYPE)

    metadata_instance.assert_asked(TYPE, times=3)


def test_an_expired_token_is_renewed(metadata_server: Any) -> None:
    instance = metadata_server.add(metadata_options={"http_tokens": "required"})
    client = Metadata(instance.url)
    client.get(TYPE)
    client.get(TYPE)
    instance.assert_asked("/latest/api/token", times=1)

    metadata_server.step("7h")

    assert client.get(TYPE) == "s3.medium.2"
    instance.assert_asked(TYPE, times=1, status=401, token="bad")
    instance.assert_asked("/latest/api/token", times=2)


def test_a_slow_body_does_not_hold_us_up(metadata_server: Any) -> None:
    instance = metadata_server.add(user_data="#!/bin/sh\n" * 100)
    instance.fault(path="/latest/user-data", drip=20)

    with pytest.raises(MetadataError):
        Metadata(instance.url, deadline=0.1).get("/latest/user-data")


def test_a_body_that_breaks_off_is_read_again(metadata_server: Any) -> None:
    instance = metadata_server.add(user_data="#!/bin/sh\nexit 0\n")
    instance.fault(path="/latest/user-data", truncate=4, first=1)

    assert Metadata(instance.url).get("/latest/user-data") == "#!/bin/sh\nexit 0\n"


def test_two_guests_have_fates_of_their_own(metadata_server: Any) -> None:
    lucky = metadata_server.add(id="lucky", flavor="s6.large.2")
    unlucky = metadata_server.add(id="unlucky")
    unlucky.interrupt(60)
    unlucky.fail(TYPE)

    assert Metadata(lucky.url).get(TYPE) == "s6.large.2"
    assert drained(Metadata(lucky.url), WORK) == WORK
    assert drained(Metadata(unlucky.url), WORK) == []
    with pytest.raises(MetadataError):
        Metadata(unlucky.url).get(TYPE)
    lucky.assert_asked("*", status=200)
    assert [each for each in lucky.requests() if each.status == 503] == []


def test_what_changes_while_it_runs_is_seen(metadata_instance: Any) -> None:
    client = Metadata(metadata_instance.url)
    assert client.get("/latest/meta-data/tags/instance/role") is None

    metadata_instance.set(tags={"role": "web"})

    assert client.get("/latest/meta-data/tags/instance/role") == "web"
    metadata_instance.assert_not_asked("*credentials*")


def test_half_an_hour_passes_in_no_time(metadata_server: Any) -> None:
    instance = metadata_server.add(id="web-1")
    metadata_server.run_scenario(
        """
        steps:
          - {at: 10m, all: true, rebalance: {}}
          - {at: 20m, all: true, spot: {in: 10m}}
        """
    )
    client = Metadata(instance.url)
    rebalance = "/latest/meta-data/events/recommendations/rebalance"

    seen = []
    for _ in range(4):
        seen.append((client.get(rebalance) is not None, client.notice() is not None))
        metadata_server.step("9m")

    assert seen == [(False, False), (False, False), (True, False), (True, True)]
    assert client.notice() is None
