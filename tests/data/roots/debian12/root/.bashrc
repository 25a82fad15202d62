# Read by interactive shells.
