"""The version of Linklocal, as the guest's side tells it."""

# Kept here because looking it up in the installed package costs a boot several milliseconds;
# a test compares it with pyproject.toml.
VERSION = "0.1.0"
