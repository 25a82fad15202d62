"""Reading an ISO 9660 image: names by Joliet, else Rock Ridge, else in lower case. ECMA-119."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..devices import ReadAt
from ..errors import DatasourceError

SECTOR = 2048
FIRST, MOST_DESCRIPTORS = 16, 16
MAGIC = b"CD001"
JOLIET = (b"%/@", b"%/C", b"%/E")
LARGEST_DIRECTORY = 1024 * 1024
LARGEST = 16 * 1024 * 1024
DIRECTORY, MORE_EXTENTS = 0x02, 0x80


class _Entry(NamedTuple):
    """A file or directory: its name, place and length in bytes."""

    name: str
    offset: int
    size: int
    flags: int


class Iso9660:
    """A reader of documents by path."""

    def __init__(self, read: ReadAt, label: str, root: _Entry, block: int, joliet: bool) -> None:
        self._read = read
        self.label = label
        self._root = root
        self._block = block
        self._joliet = joliet

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none."""
        found = self._find(path)
        if found is None or found.flags & DIRECTORY:
            return None
        if found.size > LARGEST or found.flags & MORE_EXTENTS:
            raise DatasourceError(f"{path}: larger than {LARGEST} bytes, the most that is taken")
        content = self._read(found.offset, found.size)
        if len(content) < found.size:
            raise DatasourceError(f"{path}: the disk ends before it")
        return content

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory *path*, none when there is none."""
        found = self._find(path)
        if found is None or not found.flags & DIRECTORY:
            return ()
        return tuple(sorted(entry.name for entry in self._entries(found)))

    def _find(self, path: str) -> _Entry | None:
        here: _Entry | None = self._root
        for name in filter(None, path.split("/")):
            if here is None or not here.flags & DIRECTORY:
                return None
            here = next((entry for entry in self._entries(here) if entry.name == name), None)
        return here

    def _entries(self, directory: _Entry) -> Iterator[_Entry]:
        content = self._read(directory.offset, min(directory.size, LARGEST_DIRECTORY))
        at = 0
        while at < len(content):
            length = content[at]
            if length < 34:
                # Records do not cross a sector; the rest of this one is empty.
                at += SECTOR - at % SECTOR
                continue
            entry = _entry(content[at : at + length], self._block, self._joliet)
            # The first two are the directory itself and the one above, without names.
            if entry is not None and content[at + 32 : at + 34] not in (b"\1\0", b"\1\1"):
                yield entry
            at += length


def open_iso9660(read: ReadAt) -> Iso9660 | None:
    """Return the file system that *read* reads, None when it is another one."""
    primary = joliet = None
    for number in range(MOST_DESCRIPTORS):
        sector = read((FIRST + number) * SECTOR, SECTOR)
        if len(sector) < SECTOR or sector[1:6] != MAGIC or sector[0] == 255:
            break
        if sector[0] == 1 and primary is None:
            primary = sector
        elif sector[0] == 2 and sector[88:91] in JOLIET:
            joliet = sector
    if primary is None:
        return None
    label = primary[40:72].decode("ascii", "replace").strip(" \0")
    tree = joliet or primary
    block = int.from_bytes(tree[128:130], "little") or SECTOR
    root = _entry(tree[156:190], block, joliet is not None)
    if root is None:
        return None
    return Iso9660(read, label, root, block, joliet is not None)


def _entry(record: bytes, block: int, joliet: bool) -> _Entry | None:
    """Return what a directory's *record* says, None for one that is cut off."""
    if len(record) < 34 or len(record) < 33 + record[32]:
        return None
    raw = record[33 : 33 + record[32]]
    if joliet:
        name = raw.decode("utf-16-be", "replace")
    else:
        name = _rock_ridge(record[33 + record[32] + (record[32] + 1) % 2 :])
        # Plain names are in capitals, and carry a version.
        name = name or raw.decode("ascii", "replace").partition(";")[0].rstrip(".").lower()
    offset = int.from_bytes(record[2:6], "little") * block
    return _Entry(
        name.partition(";")[0], offset, int.from_bytes(record[10:14], "little"), record[25]
    )


def _rock_ridge(area: bytes) -> str:
    """Return the name in the system use *area*, empty when there is none."""
    name = b""
    while len(area) >= 4 and 4 <= area[2] <= len(area):
        if area[:2] == b"NM" and area[4:5] != b"\x02":
            name += area[5 : area[2]]
        area = area[area[2] :]
    return name.decode("utf-8", "replace")
