"""The daemon that applies the password resets the platform asks for; docs/reset-protocol.md.

Lean on purpose: it stays in memory for as long as the machine runs.
"""
