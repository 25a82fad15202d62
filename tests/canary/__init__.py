"""Secrets planted in real machines, and the search for them in all that is left behind."""
