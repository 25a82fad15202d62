"""Where a boot's time went: a table, and a picture of it; waiting apart from working."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WAIT, STAGE, MODULE, COMMAND = "wait", "stage", "module", "command"
COLOURS = {WAIT: "#c9a227", STAGE: "#d0d7de", MODULE: "#2f6f9f", COMMAND: "#7aa6c2"}
WIDTH, LEFT, ROW = 720, 260, 20


class Span(NamedTuple):
    """Something that took its time; *at* and *seconds* are in seconds from the boot's start."""

    kind: str
    name: str
    at: float
    seconds: float


def spans(record: Mapping[str, Any]) -> list[Span]:
    """Return what *record*, a status, says of time, in order."""
    found = []
    end: float | None = None
    for row in record["stages"]:
        if "at" not in row:
            continue
        # Between stages that are processes of their own, others have the machine.
        if end is not None and row["at"] - end > 0.01:
            name = f"between stages, before {row['name']}"
            found.append(Span(WAIT, name, end, round(row["at"] - end, 3)))
        found.append(Span(STAGE, row["name"], row["at"], row.get("seconds", 0.0)))
        end = row["at"] + row.get("seconds", 0.0)
    found += [Span(WAIT, row["what"], row["at"], row["seconds"]) for row in record.get("waits", ())]
    for row in record["modules"]:
        if "at" not in row:
            continue
        found.append(Span(MODULE, row["name"], row["at"], row["seconds"]))
        at = row["at"]
        for entry in row["entries"]:
            if entry.get("seconds") is not None:
                found.append(Span(COMMAND, entry["place"], round(at, 3), entry["seconds"]))
                at += entry["seconds"]
    order = (STAGE, WAIT, MODULE, COMMAND)
    return sorted(found, key=lambda span: (span.at, order.index(span.kind)))


def totals(found: Sequence[Span]) -> tuple[float, float, float]:
    """Return the seconds of the whole, of waiting, and of working."""
    end = max((span.at + span.seconds for span in found), default=0.0)
    waited = sum(span.seconds for span in found if span.kind == WAIT)
    return round(end, 3), round(waited, 3), round(max(0.0, end - waited), 3)


def table(found: Sequence[Span]) -> str:
    """Return *found* as text, a line each, and the sums."""
    indents = {STAGE: 0, WAIT: 2, MODULE: 2, COMMAND: 4}
    lines = [f"{'at':>9} {'seconds':>9}  what"]
    for span in found:
        what = f"waiting for {span.name}" if span.kind == WAIT else span.name
        if span.kind == STAGE:
            what = f"stage {span.name}"
        lines.append(f"{span.at:9.3f} {span.seconds:9.3f}  {' ' * indents[span.kind]}{what}")
    whole, waited, worked = totals(found)
    lines.append(f"{whole:.3f} s in all: {worked:.3f} s working, {waited:.3f} s waiting")
    return "\n".join(lines)


def svg(found: Sequence[Span], title: str) -> str:
    """Return *found* as a picture, a bar each on one line of time."""
    whole, waited, worked = totals(found)
    scale = WIDTH / max(whole, 0.001)
    height = ROW * (len(found) + 3)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="8" y="16" font-weight="bold">{_escaped(title)}</text>',
        f'<text x="8" y="{16 + ROW}">{whole:.3f} s: {worked:.3f} s working,'
        f" {waited:.3f} s waiting</text>",
    ]
    for number, span in enumerate(found):
        top = ROW * (number + 2.4)
        x, width = LEFT + span.at * scale, max(1.0, span.seconds * scale)
        lines.append(
            f'<text x="{LEFT - 8}" y="{top + 12:.0f}" text-anchor="end">'
            f"{_escaped(span.name[:44])}</text>"
            f'<rect x="{x:.1f}" y="{top:.0f}" width="{width:.1f}" height="14"'
            f' fill="{COLOURS[span.kind]}"/>'
            f'<text x="{x + width + 4:.1f}" y="{top + 12:.0f}" fill="#57606a">'
            f"{span.seconds:.3f}</text>"
        )
    return "\n".join([*lines, "</svg>", ""])


def _escaped(text: str) -> str:
    for character, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, name)
    return "".join(c if c.isprintable() else "?" for c in text)
