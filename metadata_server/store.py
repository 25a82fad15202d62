"""The state: one SQLite database and a few key files, in a directory that only the server may read.

Reads run on the event loop's thread over their own connection. Writes run one after another on one
thread, each in its own transaction, and return when the disk has it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .errors import ServerError
from .secret import Secret

T = TypeVar("T")

KEY_SIZE = 32

# A reader meets a writer's lock only while the log is restarted, which takes milliseconds.
BUSY_SECONDS = 10.0


class Store:
    """What outlives the process; without a *directory* it is in a temporary one until close."""

    def __init__(self, directory: Path | None, schemas: Sequence[str] = ()) -> None:
        """Open or make the state; *schemas* are scripts of idempotent CREATE statements."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="linklocal-state-")
            directory = Path(self._temporary.name)
        self.directory = directory
        try:
            _make_private(directory)
            path = directory / "state.sqlite"
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._writer = _connect(path, is_kept=not self.is_temporary)
            # One transaction, and one wait for the disk.
            self._writer.executescript("\n".join(("BEGIN IMMEDIATE;", *schemas, "COMMIT;")))
            self._reader = _connect(path, is_kept=not self.is_temporary)
            self._reader.execute("PRAGMA query_only = ON")
        except OSError as error:
            raise ServerError(f"state {directory}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise ServerError(f"state {directory}/state.sqlite: {error}") from error
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._closed = False

    @property
    def is_temporary(self) -> bool:
        """Whether all of it goes with the process."""
        return self._temporary is not None

    def read(self, sql: str, *args: object) -> list[sqlite3.Row]:
        """Return the rows of one SELECT; on the loop's thread, so keep it to an index."""
        return self._reader.execute(sql, args).fetchall()

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Return what *change* returns once the disk has it, or raise and change nothing.

        *change* runs on the writer's thread. It is not undone when the waiting task is cancelled.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.write_now, change)

    async def truncate_log(self) -> None:
        """Move the write-ahead log into the database and cut it to nothing, deleted bytes too."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, _checkpoint, self._writer)

    def key(self, name: str) -> Secret:
        """Return the 32 secret bytes kept in the file *name*.key, made at the first call.

        Processes that share the directory get the same bytes, whichever is first.
        """
        value = self.kept(f"{name}.key", lambda: secrets.token_bytes(KEY_SIZE))
        if len(value) != KEY_SIZE:
            path = self.directory / f"{name}.key"
            raise ServerError(f"state {path}: expected {KEY_SIZE} bytes, got {len(value)}")
        return Secret(value)

    def kept(self, name: str, made: Callable[[], bytes]) -> bytes:
        """Return the secret content of the file *name*, which is *made* at the first call."""
        path = self.directory / name
        try:
            if not path.exists():
                _place(path, made(), is_kept=not self.is_temporary)
            _refuse_open(path)
            return path.read_bytes()
        except OSError as error:
            raise ServerError(f"state {path}: {error.strerror}") from error

    def close(self) -> None:
        """Finish the writes under way and close; a temporary directory goes with it."""
        if self._closed:
            return
        self._closed = True
        self._thread.shutdown(wait=True)
        self._reader.close()
        _checkpoint(self._writer)
        self._writer.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def write_now(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Do the same on this thread, which waits for the disk: for the start, before any other."""
        connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result


def _connect(path: Path, *, is_kept: bool) -> sqlite3.Connection:
    # Used by one thread at a time by construction: the writer's by the pool of one, the reader's
    # by the loop. The constructor itself may run on a third.
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    # Nobody reads a temporary state after this process, so that nothing waits for the disk.
    connection.execute(f"PRAGMA synchronous = {'FULL' if is_kept else 'OFF'}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        # Who owns it can put keys of their own in it.
        raise ServerError(
            f"state {directory}: expected a directory of this user, uid {os.geteuid()}, "
            f"got one of uid {found.st_uid}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o022:
        raise ServerError(
            f"state {directory}: expected a directory that only its owner may write, "
            f"got mode {mode:04o}"
        )


def _refuse_open(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise ServerError(f"state {path}: expected a file of this user, uid {os.geteuid()}")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise ServerError(f"state {path}: expected mode 0600, got {mode:04o}")


def _place(path: Path, value: bytes, *, is_kept: bool) -> None:
    """Put *value* at *path* whole, unless another process was first."""
    handle, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(value)
            file.flush()
            if is_kept:
                os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        os.unlink(draft)
