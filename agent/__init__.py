"""The guest's side: finds its datasource and makes the machine what its user data asks for.

Written for Python 3.9, synchronous, and frugal with imports: they decide what a boot costs. Records
are `typing.NamedTuple`, because `dataclasses` imports `inspect` on every boot.
"""
