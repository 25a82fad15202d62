"""The native API of instances: list, create, read, replace, patch, remove, metadata options."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ..batch import MOST, batch
from ..catalog import Catalog
from ..config_forms import Section, nearest
from ..config_instance import INSTANCE, METADATA_OPTIONS
from ..day.day import Day
from ..errors import Conflict, InvalidDocument, NotFound
from ..instance import Instance
from ..mailbox import Mailbox
from ..overlay import Change, Overlay
from ..reset.engine import ResetEngine
from . import schemas
from .audit import caller, note
from .body import InvalidBody, printable, read_json
from .openapi import refused
from .parameters import (
    ALL,
    CHANGED,
    CONFLICT,
    COUNT,
    FORCE,
    GONE,
    ID,
    IF_MATCH,
    IF_NONE_MATCH,
    KEY,
    LIMIT,
    MARKER,
    NAME,
    ONE,
    PAGE,
    SAME,
    SAME_NAME,
    TAG,
    VIEWED,
)
from .preconditions import entity_tag, is_known, wanted
from .replays import Replays, read_sent
from .routes import JSON, MERGE_PATCH, Accepts, Answer, Call
from .schemas import many, reference, table
from .view import instance_view, options_view, overlay_view, summary


class Instances:
    """The handlers, over the overlay that all dialects change."""

    def __init__(
        self,
        catalog: Catalog,
        overlay: Overlay,
        mailbox: Mailbox,
        engine: ResetEngine,
        replays: Replays,
        day: Day | None = None,
    ) -> None:
        self._catalog = catalog
        self._overlay = overlay
        self._mailbox = mailbox
        self._engine = engine
        self._replays = replays
        self._day = day

    def calls(self) -> tuple[Call, ...]:
        made = Answer(
            "All of them were made.",
            table(instances=many(reference("Summary"))),
            ("Location", "Idempotency-Replayed"),
        )
        page = table(instances=many(reference("Summary")), next=schemas.optional(schemas.TEXT))
        one_or_many = {
            "oneOf": [
                reference("Instance"),
                {"type": "array", "items": reference("Instance"), "minItems": 1, "maxItems": MOST},
            ]
        }
        patch = (MERGE_PATCH, JSON)
        writes = GONE | CONFLICT | CHANGED
        options = {200: Answer("The options.", reference("MetadataOptions"), ("ETag",))}
        return (
            Call(
                "GET",
                ALL,
                "listInstances",
                "List instances, a page at a time.",
                self.list_all,
                {200: Answer("A page; `next` is the path of the one after it.", page)},
                (LIMIT, MARKER, NAME, TAG),
            ),
            Call(
                "POST",
                ALL,
                "createInstances",
                "Make one instance, or several at once: all of them or none.",
                self.create,
                {201: made} | CONFLICT | refused(422, "The key was used for another request."),
                (COUNT, SAME_NAME, KEY),
                Accepts(one_or_many),
            ),
            Call(
                "GET",
                ONE,
                "showInstance",
                "Show an instance, without user data, hashes or other secrets.",
                self.show,
                {200: VIEWED} | SAME | GONE,
                (ID, IF_NONE_MATCH),
            ),
            Call(
                "PUT",
                ONE,
                "replaceInstance",
                "Put a whole description in the place of an instance, or make it with this id.",
                self.replace,
                {200: VIEWED, 201: VIEWED} | CONFLICT | CHANGED,
                (ID, FORCE, IF_MATCH, IF_NONE_MATCH),
                Accepts(reference("Instance")),
            ),
            Call(
                "PATCH",
                ONE,
                "patchInstance",
                "Change an instance by a merge patch (RFC 7386).",
                self.patch,
                {200: VIEWED} | writes,
                (ID, FORCE, IF_MATCH),
                Accepts(reference("InstancePatch"), patch),
            ),
            Call(
                "DELETE",
                ONE,
                "removeInstance",
                "Remove an instance with its posted password, resets and enrolment.",
                self.remove,
                {204: Answer("It is gone.")} | GONE | CHANGED,
                (ID, IF_MATCH),
            ),
            Call(
                "GET",
                ONE + "/configuration",
                "showConfiguration",
                "Show an instance in the words of the configuration, with user data and all.",
                self.configuration,
                {200: Answer("What a PUT takes.", reference("Instance"), ("ETag",))} | SAME | GONE,
                (ID, IF_NONE_MATCH),
            ),
            Call(
                "GET",
                ONE + "/overlay",
                "showOverlay",
                "Show what was changed by API.",
                self.show_overlay,
                {200: Answer("The change over the configuration.", reference("Change"))} | GONE,
                (ID,),
            ),
            Call(
                "DELETE",
                ONE + "/overlay",
                "resetOverlay",
                "Drop what was changed by API, events and faults: the instance is as configured.",
                self.reset,
                {200: VIEWED} | GONE | refused(409, "The instance is not configured."),
                (ID,),
            ),
            Call(
                "GET",
                ONE + "/metadata-options",
                "showMetadataOptions",
                "Show how the instance's metadata is served.",
                self.show_options,
                options | SAME | GONE,
                (ID, IF_NONE_MATCH),
            ),
            Call(
                "PATCH",
                ONE + "/metadata-options",
                "patchMetadataOptions",
                "Change how the instance's metadata is served.",
                self.patch_options,
                options | writes,
                (ID, IF_MATCH),
                Accepts(reference("MetadataOptionsPatch"), patch),
            ),
        )

    async def list_all(self, request: web.Request) -> web.Response:
        limit = LIMIT.number(request, PAGE)
        found = self._catalog.ids()
        if NAME.of(request) is not None or TAG.name in request.query:
            # Only these are looked for in what instances are, of which there may be many.
            like = await self._catalog.wanted(lambda each: _is_like(each, request))
            found = tuple(each.id for each in like)
        if marker := MARKER.of(request):
            if marker not in found:
                raise InvalidBody(
                    (
                        "",
                        f"marker: {marker[:64]!r} is not in the list any more; expected to begin"
                        " with the first page again",
                    )
                )
            found = found[found.index(marker) + 1 :]
        more = len(found) > limit
        page = [each for each in map(self._catalog.by_id, found[:limit]) if each is not None]
        after = None
        if more:
            query = [(key, text) for key, text in request.query.items() if key != "marker"]
            after = f"{ALL}?{urlencode([*query, ('marker', page[-1].id)])}"
        found_out = self._engine.guest
        return web.json_response(
            {"instances": [summary(each, found_out(each)) for each in page], "next": after}
        )

    async def create(self, request: web.Request) -> web.Response:
        given = await read_json(request)
        documents = _documents(given, request)
        sent = read_sent(request, caller(), await request.read())
        if sent is None:
            return self._created(_created_text(await self._overlay.create(documents)))
        async with self._replays.lock:
            if found := self._replays.find(sent):
                note(replayed=True)
                return self._created(found, replayed=True)

            def keep(state: sqlite3.Connection, instances: tuple[Instance, ...]) -> None:
                self._replays.keep(state, sent, _created_text(instances))

            return self._created(_created_text(await self._overlay.create(documents, also=keep)))

    def _created(self, text: str, *, replayed: bool = False) -> web.Response:
        ids = [each["id"] for each in json.loads(text)["instances"]]
        note(instance=ids[0], count=len(ids) if len(ids) > 1 else None)
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        if len(ids) == 1:
            headers["Location"] = f"{ALL}/{ids[0]}"
        return web.Response(text=text, status=201, content_type=JSON, headers=headers)

    async def show(self, request: web.Request) -> web.Response:
        return self._viewed(request, self._instance(request).id)

    async def replace(self, request: web.Request) -> web.Response:
        instance_id = request.match_info["id"]
        document = await _table(request)
        there = self._catalog.by_id(instance_id) is not None
        tag = wanted(request, self._overlay.tag(instance_id) if there else None)
        if document.setdefault("id", instance_id) != instance_id:
            raise InvalidBody(("/id", f"id: expected {instance_id[:64]!r}, as in the path"))
        if not there:
            await self._overlay.create([document])
            return self._viewed(request, instance_id, status=201)
        force = FORCE.flag(request)
        await self._overlay.replace(instance_id, document, force=force, tag=tag)
        note(force=force or None)
        return self._viewed(request, instance_id)

    async def patch(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        patch = await _table(request)
        check_names(patch, INSTANCE)
        force = FORCE.flag(request)
        tag = wanted(request, self._overlay.tag(instance.id))
        await self._overlay.set(instance.id, patch, force=force, tag=tag)
        note(keys=_keys(patch, INSTANCE), force=force or None)
        return self._viewed(request, instance.id)

    async def remove(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        tag = wanted(request, self._overlay.tag(instance.id))
        await self._overlay.delete([instance.id], tag=tag)
        return web.Response(status=204)

    async def configuration(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        return self._answer(request, instance.id, self._overlay.document(instance.id))

    async def show_overlay(self, request: web.Request) -> web.Response:
        return web.json_response(overlay_view(self._change(request)))

    async def reset(self, request: web.Request) -> web.Response:
        instance_id = request.match_info["id"]
        if self._day is None or not self._day.has_any_of(instance_id):
            self._change(request)
        if not self._overlay.is_configured(instance_id):
            raise Conflict("the instance was made by API and has no configuration; remove it")
        if self._day is not None:
            await self._day.reset_instance(instance_id)
        else:
            await self._overlay.reset(instance_id)
        return self._viewed(request, instance_id)

    async def show_options(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        return self._answer(request, instance.id, options_view(instance))

    async def patch_options(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        patch = await _table(request)
        check_names(patch, METADATA_OPTIONS)
        tag = wanted(request, self._overlay.tag(instance.id))
        try:
            changed = await self._overlay.set(instance.id, {"metadata_options": patch}, tag=tag)
        except InvalidDocument as error:
            raise _below("metadata_options", error) from None
        note(keys=_keys(patch, METADATA_OPTIONS))
        return self._answer(request, instance.id, options_view(changed))

    def _instance(self, request: web.Request) -> Instance:
        found = self._catalog.by_id(request.match_info["id"])
        if found is None:
            raise NotFound(f"no such instance: {request.match_info['id'][:64]!r}")
        return found

    def _change(self, request: web.Request) -> Change:
        found = self._overlay.get(request.match_info["id"])
        if found is not None:
            return found
        self._instance(request)
        raise NotFound("nothing was changed by API")

    def _viewed(self, request: web.Request, instance_id: str, *, status: int = 200) -> web.Response:
        instance = self._catalog.by_id(instance_id)
        if instance is None:
            raise NotFound("the instance was removed meanwhile")
        view = instance_view(
            instance,
            self._engine.guest(instance),
            revision=self._catalog.revision(instance_id),
            password_posted=bool(self._mailbox.get(instance_id)),
            change=self._overlay.get(instance_id),
            is_configured=self._overlay.is_configured(instance_id),
        )
        return self._answer(request, instance_id, view, status=status)

    def _answer(
        self, request: web.Request, instance_id: str, document: object, *, status: int = 200
    ) -> web.Response:
        text = json.dumps(document)
        tag = entity_tag(self._overlay.tag(instance_id), text)
        if request.method in ("GET", "HEAD") and is_known(request, tag):
            return web.Response(status=304, headers={"ETag": tag})
        headers = {"ETag": tag}
        if status == 201:
            headers["Location"] = f"{ALL}/{instance_id}"
        return web.Response(text=text, status=status, content_type=JSON, headers=headers)


def _documents(given: Any, request: web.Request) -> list[Mapping[str, Any]]:
    """Return the instances to make of a body, which is one or a list of them."""
    count, same_name = COUNT.number(request, 1), SAME_NAME.flag(request)
    if isinstance(given, Mapping):
        return [*batch(given, count, same_name=same_name)]
    if not isinstance(given, list):
        raise InvalidBody(("", "body: expected an instance, or a list of them"))
    if count > 1 or same_name:
        raise InvalidBody(("", "count: expected one instance in the body, not a list"))
    if not 1 <= len(given) <= MOST:
        raise InvalidBody(("", f"body: expected 1 to {MOST} instances, got {len(given)}"))
    wrong = [
        (f"/{place}", f"[{place}]: expected an instance")
        for place, each in enumerate(given)
        if not isinstance(each, Mapping)
    ]
    if wrong:
        raise InvalidBody(*wrong)
    return given


def _created_text(instances: tuple[Instance, ...]) -> str:
    return json.dumps({"instances": [summary(each, None) for each in instances]})


async def _table(request: web.Request) -> dict[str, Any]:
    given = await read_json(request)
    if not isinstance(given, dict):
        raise InvalidBody(("", "body: expected a JSON object"))
    return given


def check_names(patch: Mapping[str, Any], section: Section[Any]) -> None:
    """Raise InvalidBody for keys that do not exist: taking away a misspelt one does nothing."""
    wrong: list[tuple[str, str]] = []
    _check_names(patch, section, "", wrong)
    if wrong:
        raise InvalidBody(*wrong)


def _check_names(
    patch: Mapping[str, Any], section: Section[Any], where: str, wrong: list[tuple[str, str]]
) -> None:
    known = {key.name: key.form for key in section.keys}
    for name, value in patch.items():
        form = known.get(name)
        if form is None:
            shown = printable(name)
            text = f"unknown key {shown!r}{nearest(shown, [*known])}"
            wrong.append((where, f"{where[1:].replace('/', '.')}: {text}" if where else text))
        elif isinstance(value, Mapping) and isinstance(form, Section):
            _check_names(value, form, f"{where}/{name}", wrong)


def _keys(patch: Mapping[str, Any], section: Section[Any]) -> str:
    """Return the keys of *patch* for the audit log: those that are declared, no made-up ones."""
    return ",".join(key.name for key in section.keys if key.name in patch)


def _below(key: str, error: InvalidDocument) -> InvalidDocument:
    """Return *error* with places below *key*, which is not in the caller's document."""
    return InvalidDocument(
        *(
            (where.removeprefix(f"/{key}"), text.removeprefix(f"{key}."))
            for where, text in error.problems
        )
    )


def _is_like(instance: Instance, request: web.Request) -> bool:
    name = NAME.of(request)
    if name is not None and not fnmatchcase(instance.name, name):
        return False
    for tag in request.query.getall(TAG.name, []):
        key, equals, text = tag.partition("=")
        if key not in instance.tags or (equals and instance.tags[key] != text):
            return False
    return True
