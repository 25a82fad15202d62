"""User data checked without a machine: every part, every section, place and rule, no value."""

from __future__ import annotations

from .errors import AgentError
from .modules import NAMES, load_module
from .report import Entry, Report
from .secret import Secret
from .sections import load_section, unknown_keys, wanted
from .user_data.gather import Source, gather


def validate(content: bytes) -> tuple[Entry, ...]:
    """Return what there is to say of the user data in *content*, of any format."""
    report = Report()
    gathered = gather([Source("", Secret(content))], {}, report, base64=True)
    if not gathered.parts:
        report.notice("user data", "empty")
    for place, _, part, *_ in gathered.parts:
        if part.result != "done":
            report.add(place, part.result, part.detail)
    for key, words in unknown_keys(gathered.config):
        report.warning(key, words)
    for name in NAMES:
        if name.always or wanted(name, gathered.config):
            try:
                load_section(load_module(name.name), gathered.config, report)
            except AgentError as error:
                report.refused(name.name, str(error))
    # Two modules may read the same keys.
    return tuple(dict.fromkeys(report.entries))
