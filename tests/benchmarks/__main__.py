"""make bench: both sides of each comparison in turn, in one run, as a table of ratios."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from . import against_nova, crowd, many, server

if TYPE_CHECKING:
    from .boot import Cost


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")


def show_server() -> None:
    rows = server.measure(progress)
    say("\nServer, one core, against a bare aiohttp application (requests/s, medians)\n")
    say(f"{'workload':40} {'ours':>8} {'bare':>8} {'ratio':>6}")
    for row in rows:
        say(f"{row.name:40} {row.ours:8.0f} {row.bare:8.0f} {row.ratio:6.2f}")


def show_nova() -> None:
    say("\n" + against_nova.show(against_nova.measure(progress)))


def show_guests() -> None:
    say("\nMany guests, the server on one core but for its workers\n")
    for workers in (1, 2):
        say(many.show(many.measure(progress, workers=workers)))
    for found in crowd.measure(progress):
        say(crowd.show(found))


def show_boot() -> None:
    if os.geteuid() != 0:
        say("\nThe boot comparison needs root: guests are namespaces of their own.")
        return
    from . import boot

    for document, costs in boot.measure(progress).items():
        show_costs(document, costs)


def show_costs(document: str, costs: dict[str, Cost]) -> None:
    say(f"\nA boot in a light Debian 12 guest, {document} (medians)\n")
    say(f"{'':32} {'wall ms':>8} {'CPU ms':>8} {'MiB':>6}")
    for name, cost in costs.items():
        say(f"{name:32} {cost.wall * 1000:8.0f} {cost.cpu * 1000:8.0f} {cost.memory / 1024:6.1f}")
    programs = costs["the programs alone"]
    for boot_name in ("first", "second"):
        ours = costs[f"linklocal-agent, {boot_name} boot"]
        theirs = costs[f"cloud-init, {boot_name} boot"]
        say(
            f"\n{boot_name} boot, ours to cloud-init's: wall {ours.wall / theirs.wall:.2f},"
            f" CPU {ours.cpu / theirs.cpu:.2f}, memory {ours.memory / theirs.memory:.2f}"
        )
        if boot_name == "first":
            net_wall = (ours.wall - programs.wall) / (theirs.wall - programs.wall)
            net_cpu = (ours.cpu - programs.cpu) / (theirs.cpu - programs.cpu)
            say(f"net of the programs both run: wall {net_wall:.2f}, CPU {net_cpu:.2f}")


def show_machine() -> None:
    if os.geteuid() != 0:
        say("\nThe boots of systemd need root: guests are namespaces of their own.")
        return
    from . import machine

    costs = machine.measure(progress)
    none = costs[machine.NONE]
    say("\nA boot of systemd in an nspawn guest, seconds of user space until it has finished\n")
    say(f"{'':40} {'median':>8} {'added':>8} {'quickest':>9} {'added':>8}")
    for name, cost in costs.items():
        medians = f"{cost.median:8.2f} {cost.median - none.median:8.2f}"
        say(f"{name:40} {medians} {cost.quickest:9.2f} {cost.quickest - none.quickest:8.2f}")


PARTS = {
    "server": show_server,
    "nova": show_nova,
    "guests": show_guests,
    "boot": show_boot,
    "machine": show_machine,
}


def main() -> int:
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
