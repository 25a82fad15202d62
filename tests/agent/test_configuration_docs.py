"""docs/agent-configuration.md is what the code reads; its example is taken by all who read it."""

from __future__ import annotations

import re
from pathlib import Path

from agent.config import PATH, AgentConfig, read
from agent.configuration_reference import page
from agent.host import Host
from agent.modules.reference import fields
from agent.report import Report
from agent.reset_password import settings

PAGE = Path(__file__).resolve().parents[2] / "docs/agent-configuration.md"


def test_the_page_is_not_stale() -> None:
    hint = "python -m agent.configuration_reference > docs/agent-configuration.md"
    assert PAGE.read_text() == page(), f"stale: {hint}"


def test_every_key_says_what_it_is() -> None:
    own = {field.key: field for field in fields(settings.Settings)}
    assert set(own) >= settings.OWN
    for field in (*fields(AgentConfig), *(own[key] for key in settings.OWN)):
        assert field.doc.endswith("."), field.key
        assert field.type, field.key


def test_the_example_is_taken_as_it_stands(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", page(), re.DOTALL)
    path = tmp_path / PATH.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(example)
    report = Report()

    config = read(Host(tmp_path), report)

    assert report.entries == []
    assert config.script_timeout == 600
    assert settings.read(str(tmp_path)).users == ("root", "admin")
