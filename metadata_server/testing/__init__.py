"""A metadata service inside a test's own process, and what a test says of its guests.

What pytest's fixtures are made of (docs/testing.md); usable without pytest as well.
"""

from .directory import Boot, GuestDirectory
from .served import GuestRequest, MetadataServer, ServedInstance, serving

__all__ = (
    "Boot",
    "GuestDirectory",
    "GuestRequest",
    "MetadataServer",
    "ServedInstance",
    "serving",
)
