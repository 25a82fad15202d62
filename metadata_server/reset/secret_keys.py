"""The engine's secret keys: systemd credentials, or else key files of the store."""

from __future__ import annotations

from pathlib import Path

from ..errors import ServerError
from ..secret import Secret
from ..store import Store
from .sealed import KEY_SIZE


def secret_key(store: Store, name: str, credentials: str | None) -> Secret:
    """Return a secret key: the systemd credential linklocal-*name*, or the store's key file."""
    if credentials is not None:
        path = Path(credentials, f"linklocal-{name}")
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            return store.key(name)
        except OSError as error:
            raise ServerError(f"credential {path}: {error.strerror}") from error
        if len(found) != KEY_SIZE:
            raise ServerError(f"credential {path}: expected {KEY_SIZE} bytes, got {len(found)}")
        return Secret(found)
    return store.key(name)
