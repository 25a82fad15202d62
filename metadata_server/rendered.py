"""What instances are served, ready to be written: rendered at first use, kept within bounds. Pure.

An answer that is made anew for each request is kept as the node that says how.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from .instance import Instance
from .paths import in_order, read_path, resolve
from .tree import TEXT, Directory, Leaf, Live, Signed, listing

Sign = Callable[[Signed], bytes]

KEPT_BYTES: Final = 128 * 1024 * 1024

OVERHEAD: Final = 500
"""About what Python needs for an answer beside its bytes."""


class Answer:
    """A status and all that follows it: headers, an empty line that begins at *split*, the body."""

    __slots__ = ("rest", "split", "status")

    def __init__(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        lines = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        if headers is not None:
            lines += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = lines.encode("latin-1")
        self.status = status
        self.split = len(head)
        self.rest = b"".join((head, b"\r\n", body))

    def with_header(self, name: str, value: str) -> Answer:
        """Return the same answer with one header more."""
        found = Answer.__new__(Answer)
        line = f"{name}: {value}\r\n".encode("latin-1")
        found.status, found.split = self.status, self.split + len(line)
        found.rest = line + self.rest
        return found


class _Page:
    """The answers of one revision of an instance, by their paths with and without a last slash."""

    __slots__ = ("answers", "revision", "size")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.answers: dict[str, Answer | Live] = {}
        self.size = 0


class Rendered:
    """A bounded cache of answers; the instances asked for last stay."""

    def __init__(self, sign: Sign, limit: int = KEPT_BYTES) -> None:
        self._sign = sign
        self._limit = limit
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self._size = 0

    def ready(self, instance: Instance, revision: int, target: str) -> Answer | Live | None:
        """Return the answer kept for *target*; None says only that there is none yet."""
        page = self._pages.get(instance.id)
        if page is None or page.revision != revision:
            return None
        self._pages.move_to_end(instance.id)
        return page.answers.get(target)

    def render(self, instance: Instance, revision: int, target: str) -> Answer | Live | None:
        """Return the answer for *target*, and keep it; None when the instance has no such path.

        *instance* is asked for here only, so it may hold more than the one given to `ready`.
        """
        names = read_path(target)
        if names is None:
            return None
        path = "/" + "/".join(names)
        found = self.ready(instance, revision, path)
        if found is None:
            node = resolve(instance, names)
            if isinstance(node, Directory):
                found = Answer(200, listing(node, in_order=in_order(names)).encode(), TEXT)
            elif isinstance(node, Leaf):
                found = Answer(200, node.body, node.content_type)
            elif isinstance(node, Signed):
                found = Answer(200, self._sign(node), TEXT)
            else:
                found = node
        if found is not None and target in (path, path + "/"):
            # Other spellings have no end, so they are read anew each time.
            self._keep(instance.id, revision, target, found)
        return found

    def _keep(self, instance_id: str, revision: int, target: str, answer: Answer | Live) -> None:
        page = self._pages.get(instance_id)
        if page is None or page.revision != revision:
            self._drop(instance_id)
            page = self._pages[instance_id] = _Page(revision)
        size = OVERHEAD + len(target)
        size += len(answer.rest if isinstance(answer, Answer) else answer.template)
        page.answers[target] = answer
        page.size += size
        self._size += size
        while self._size > self._limit and len(self._pages) > 1:
            self._drop(next(iter(self._pages)))

    def _drop(self, instance_id: str) -> None:
        page = self._pages.pop(instance_id, None)
        if page is not None:
            self._size -= page.size
