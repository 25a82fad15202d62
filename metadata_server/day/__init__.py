"""What happens to guests while the server runs: events, faults, scenarios; clock and journal."""
