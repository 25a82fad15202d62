"""The daemon that applies the password resets the platform asks for; docs/reset-protocol.md.

Lean on purpose: it stays in memory for as long as the machine runs.
"""

PREFIX = "/linklocal/v1/reset-password/"
"""Of the paths of version 1."""
KEY_SIZE = 32
"""Bytes of each key in it."""
