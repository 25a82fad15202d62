"""Writes the texts of tests/data/network anew."""

from __future__ import annotations

from agent.report import Report

from .documents import DATA, NAMES, RENDERERS, resolved, shown

if __name__ == "__main__":
    for name in NAMES:
        for back_end, render in RENDERERS.items():
            text = shown(render(resolved(name, Report())))
            (DATA / name / f"{back_end}.txt").write_text(text)
