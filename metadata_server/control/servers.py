"""What the dialects of the clouds do to instances: one engine below all their names for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from ..catalog import Catalog
from ..config_derived import derived_meta
from ..errors import BadRequest, Forbidden, NotFound, ServerError
from ..instance import Instance
from ..mailbox import Mailbox
from ..overlay import Overlay
from ..reset.asking import Demand, NewPassword, ask_password
from ..reset.engine import ResetEngine
from ..reset.hashing import hash_password
from ..reset.policy import FIRST_USER, OsType, check
from ..reset.requests import Apply, ResetRequest
from ..secret import Secret
from .audit import note
from .body import Body

AGENCY: Final = "agency_name"
"""A key of the metadata that is the instance's agency instead."""

MOST_META: Final = 128
_META_KEY: Final = re.compile(r"[A-Za-z0-9_:. -]{1,255}")
_META_VALUE: Final = 255


class Servers:
    def __init__(
        self, catalog: Catalog, overlay: Overlay, mailbox: Mailbox, engine: ResetEngine
    ) -> None:
        self._catalog = catalog
        self._mailbox = mailbox
        self._engine = engine
        self.overlay = overlay

    def at(self, request: web.Request) -> Instance:
        """Return the instance at the path of *request*, in the project at the path if any."""
        return self.known(request.match_info["id"], project_of(request))

    def known(self, instance_id: str, project: str | None) -> Instance:
        """Return an instance of *project*, None is any; raises NotFound."""
        found = self._catalog.by_id(instance_id)
        if found is None:
            raise NotFound(f"Instance {instance_id[:64]} could not be found.")
        if project is not None and project != found.project_id:
            raise NotFound(
                f"Instance {instance_id[:64]} could not be found in project {project[:64]}; it is"
                f" in {found.project_id}."
            )
        return found

    async def all(
        self, project: str | None, wants: Callable[[Instance], bool] = lambda _: True
    ) -> list[Instance]:
        """Return the instances of *project*, None is any, that *wants* says yes to."""
        return await self._catalog.wanted(
            lambda each: project in (None, each.project_id) and wants(each)
        )

    def enrolled(self, instance: Instance) -> bool:
        """Say whether the guest has a reset daemon, ours or the platform's own."""
        return self._engine.guest(instance) is not None

    def posted_password(self, instance: Instance) -> str:
        # What a guest posts is base64 by custom only.
        return self._mailbox.get(instance.id).decode("utf-8", "replace")

    async def forget_password(self, instance: Instance) -> None:
        await self._mailbox.clear(instance.id)

    def new_password(self, password: Secret) -> NewPassword:
        return NewPassword(password, self._engine.work)

    async def hashed(self, password: Secret, os_type: OsType) -> Secret:
        """Return a hash of the first password of a server; raises PasswordRefused."""
        check_for(password, os_type)
        work = self._engine.work
        return await hash_password(password, work.scheme, work=work)

    async def reset(self, instance: Instance, password: NewPassword, apply: Apply) -> ResetRequest:
        """Ask for a new password of the instance's first user, which is checked already."""
        user = FIRST_USER[instance.os_type]
        note(user=user, apply=apply)
        asked = await ask_password(self._engine, instance, user, password, Demand(apply=apply))
        if asked is None:
            raise ServerError("what was no dry run ended as one")
        note(reset=asked.id, state=asked.state)
        return asked

    async def update_meta(self, instance: Instance, given: Mapping[str, str]) -> dict[str, str]:
        """Add *given* to the metadata of *instance* and return all of it."""
        check_meta(given)
        note(keys=",".join(sorted(given)))

        def patch(current: Instance) -> dict[str, Any]:
            if len(shown_meta(current).keys() | given.keys()) > MOST_META:
                raise Forbidden(f"Maximum number of metadata items exceeds {MOST_META}")
            return meta_patch(given)

        return shown_meta(await self.overlay.set(instance.id, patch))

    async def replace_meta(self, instance: Instance, given: Mapping[str, str]) -> dict[str, str]:
        """Make *given* the metadata of *instance*, with what the platform itself adds."""
        check_meta(given)
        note(keys=",".join(sorted(given)))

        def patch(current: Instance) -> dict[str, Any]:
            absent = dict.fromkeys(key for key in shown_meta(current) if key not in given)
            return meta_patch({**absent, **given})

        return shown_meta(await self.overlay.set(instance.id, patch))

    async def delete_meta(self, instance: Instance, key: str) -> None:
        note(keys=key)

        def patch(current: Instance) -> dict[str, Any]:
            shown = shown_meta(current)
            if key not in shown:
                raise NotFound("Metadata item was not found")
            if derived_meta(current).get(key) == shown[key]:
                raise Forbidden(f"{key[:255]} follows from the instance and cannot be deleted")
            return meta_patch({key: None})

        await self.overlay.set(instance.id, patch)

    async def create(self, documents: Sequence[Mapping[str, Any]]) -> tuple[Instance, ...]:
        made = await self.overlay.create(documents)
        note(created=",".join(each.id for each in made))
        return made

    async def remove(self, instances: Collection[Instance]) -> None:
        """Delete all of *instances*, with what was asked of their guests or posted by them."""
        note(deleted=",".join(each.id for each in instances))
        await self.overlay.delete([each.id for each in instances])


def project_of(request: web.Request) -> str | None:
    return request.match_info.get("project")


def shown_meta(instance: Instance) -> dict[str, str]:
    """Return the metadata as the control plane has it, the agency among it."""
    meta = dict(instance.meta)
    if instance.agency is not None:
        meta[AGENCY] = instance.agency.name
    return meta


def meta_patch(given: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the patch of an instance that sets these metadata, None removes."""
    patch: dict[str, Any] = {"meta": {key: given[key] for key in given if key != AGENCY}}
    if AGENCY in given:
        name = given[AGENCY]
        patch["agency"] = None if name is None else {"name": name}
    return patch


def check_meta(given: Mapping[str, str]) -> None:
    for key, value in given.items():
        if not _META_KEY.fullmatch(key):
            raise BadRequest(
                "metadata: expected keys of 1 to 255 letters, digits, spaces, '_', ':', '.', '-'"
            )
        if len(value) > _META_VALUE:
            raise BadRequest(f"metadata.{key}: expected at most {_META_VALUE} characters")


def wanted_password(body: Body, key: str) -> Secret:
    """Return the password at *key*, which has to be there."""
    password = body.secret(key)
    if password is None and not body.has(key):
        body.refuse(key, "expected the new password")
    body.check()
    return password or Secret(b"")


def check_for(password: Secret, os_type: OsType) -> None:
    """Raise PasswordRefused when *password* is none for the first user of such a server."""
    check(password.reveal().decode(), user=FIRST_USER[os_type], os_type=os_type)
