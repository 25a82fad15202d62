"""Reading a FAT file system, 12, 16 or 32 bits, with long names; names in any case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..devices import ReadAt
from ..errors import DatasourceError

LARGEST = 16 * 1024 * 1024
LARGEST_DIRECTORY = 1024 * 1024
ENTRY = 32
LABEL, DIRECTORY, LONG = 0x08, 0x10, 0x0F
DELETED, LAST_LONG = 0xE5, 0x40
LONGEST_NAME = 255


class _Entry(NamedTuple):
    """A file, directory or label: its name in lower case, first cluster and length in bytes."""

    name: str
    cluster: int
    size: int
    attributes: int


class _Shape(NamedTuple):
    """Where things are, in bytes."""

    fat: int
    bits: int
    cluster: int
    root: int
    """Of a root directory of fixed size, 0 when it is a chain like any other."""
    root_size: int
    root_cluster: int
    data: int
    clusters: int


class Fat:
    """A reader of documents by path."""

    def __init__(self, read: ReadAt, shape: _Shape, label: str) -> None:
        self._read = read
        self._shape = shape
        self.label = next(
            (entry.name for entry in self._entries(None) if entry.attributes & LABEL), label
        )

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none."""
        found = self._find(path)
        if found is None or found.attributes & DIRECTORY:
            return None
        if found.size > LARGEST:
            raise DatasourceError(f"{path}: larger than {LARGEST} bytes, the most that is taken")
        content = self._chain(found.cluster, found.size)
        if len(content) < found.size:
            raise DatasourceError(f"{path}: the disk ends before it")
        return content[: found.size]

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory *path*, none when there is none."""
        found = self._find(path)
        if path.strip("/") and (found is None or not found.attributes & DIRECTORY):
            return ()
        return tuple(
            sorted(each.name for each in self._entries(found) if not each.attributes & LABEL)
        )

    def _find(self, path: str) -> _Entry | None:
        """Return what is at *path*, None also for the root itself."""
        here: _Entry | None = None
        for number, name in enumerate(filter(None, path.split("/"))):
            if number and (here is None or not here.attributes & DIRECTORY):
                return None
            wanted = name.lower()
            here = next(
                (
                    entry
                    for entry in self._entries(here)
                    if entry.name == wanted and not entry.attributes & LABEL
                ),
                None,
            )
        return here

    def _entries(self, directory: _Entry | None) -> Iterator[_Entry]:
        shape = self._shape
        if directory is not None:
            content = self._chain(directory.cluster, LARGEST_DIRECTORY)
        elif shape.root:
            content = self._read(shape.root, shape.root_size)
        else:
            content = self._chain(shape.root_cluster, LARGEST_DIRECTORY)
        long = ""
        for at in range(0, len(content) - ENTRY + 1, ENTRY):
            entry = content[at : at + ENTRY]
            if entry[0] == 0:
                return
            if entry[0] == DELETED:
                long = ""
            elif entry[11] == LONG:
                # The last piece comes first.
                long = (_piece(entry) + ("" if entry[0] & LAST_LONG else long))[:LONGEST_NAME]
            else:
                yield _entry(entry, long)
                long = ""

    def _chain(self, cluster: int, most: int) -> bytes:
        """Return what the chain from *cluster* holds, of *most* bytes as much as is needed."""
        shape = self._shape
        pieces = []
        have = 0
        # A chain that is longer than the disk runs in a circle.
        for _ in range(shape.clusters):
            if not 2 <= cluster < shape.clusters + 2 or have >= most:
                break
            piece = self._read(shape.data + (cluster - 2) * shape.cluster, shape.cluster)
            if not piece:
                break
            pieces.append(piece)
            have += len(piece)
            cluster = self._next(cluster)
        return b"".join(pieces)

    def _next(self, cluster: int) -> int:
        shape = self._shape
        raw = self._read(shape.fat + cluster * shape.bits // 8, 4 if shape.bits == 32 else 2)
        value = int.from_bytes(raw, "little")
        if shape.bits == 12:
            return value >> 4 if cluster % 2 else value & 0xFFF
        return value & 0x0FFFFFFF


def open_fat(read: ReadAt) -> Fat | None:
    """Return the file system that *read* reads, None when it is another one."""
    head = read(0, 512)
    if len(head) < 512 or head[510:] != b"\x55\xaa" or head[0] not in (0xEB, 0xE9):
        return None

    def number(at: int, size: int = 2) -> int:
        return int.from_bytes(head[at : at + size], "little")

    sector, per_cluster, reserved, fats = number(11), head[13], number(14), head[16]
    root_entries, fat_sectors = number(17), number(22) or number(36, 4)
    if sector not in (512, 1024, 2048, 4096) or per_cluster == 0 or not 0 < fats < 3:
        return None
    root_sectors = (root_entries * ENTRY + sector - 1) // sector
    first = reserved + fats * fat_sectors
    total = number(19) or number(32, 4)
    clusters = (total - first - root_sectors) // per_cluster
    if fat_sectors == 0 or clusters < 1:
        return None
    bits = 12 if clusters < 4085 else 16 if clusters < 65525 else 32
    shape = _Shape(
        fat=reserved * sector,
        bits=bits,
        cluster=per_cluster * sector,
        root=0 if bits == 32 else first * sector,
        root_size=root_sectors * sector,
        root_cluster=number(44, 4),
        data=(first + root_sectors) * sector,
        clusters=clusters,
    )
    at = 71 if bits == 32 else 43
    return Fat(read, shape, head[at : at + 11].decode("ascii", "replace").strip().lower())


def _piece(entry: bytes) -> str:
    raw = entry[1:11] + entry[14:26] + entry[28:32]
    return raw.decode("utf-16-le", "replace").partition("\0")[0]


def _entry(entry: bytes, long: str) -> _Entry:
    short = entry[:11].decode("ascii", "replace")
    stem, ending = short[:8].rstrip(), short[8:].rstrip()
    name = long or (f"{stem}.{ending}" if ending else stem)
    if entry[11] & LABEL:
        name = short.strip()
    cluster = int.from_bytes(entry[20:22], "little") << 16 | int.from_bytes(entry[26:28], "little")
    return _Entry(name.lower(), cluster, int.from_bytes(entry[28:32], "little"), entry[11])
