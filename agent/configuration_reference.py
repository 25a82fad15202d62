"""The reference page of agent.yaml, from the types that read it.

`python -m agent.configuration_reference > docs/agent-configuration.md`
"""

from __future__ import annotations

import sys

from .config import DROP_INS, PATH, AgentConfig
from .modules.reference import Field, fields
from .modules.scripts import DIRECTORIES
from .reset_password.settings import OWN, Settings

HEAD = f"""\
<!-- Made by `python -m agent.configuration_reference`; a test says when it is out of date. -->
# The agent's configuration

`{PATH}` is YAML; all of its keys are optional, and so is the file. A key that is
not listed is in the status, with the nearest one that is; a value that cannot be understood is
refused there, and the others hold. A file that is no YAML fails the boot: nothing of it can be
trusted. Times are in seconds.

```yaml
datasource: [openstack, ec2]
script_timeout: 600
report_boot: true
cloud_config:
  timezone: Etc/UTC
reset_password: {{users: [root, admin]}}
```

"""
BESIDE = f"""
## Beside it

| Path | Holds |
| --- | --- |
| `{DROP_INS}/*.yaml` (`.yml`, `.cfg`) | cloud-config of the image, a later name over an earlier |
| {", ".join(f"`{each}/per-{{boot,instance,once}}`" for each in DIRECTORIES)} | executable files \
that are run among the user data's scripts of that kind |
| `/var/lib/linklocal/agent` | what the agent remembers, by instance; root's own, 0700 |
| `/run/linklocal/status.json` | [the status](status.md), for all to read |
| `/var/log/linklocal/agent.log` | the log, 0640 |
"""


def page() -> str:
    """Return the whole page."""
    own = [field for field in fields(Settings) if field.key in OWN]
    return (
        HEAD
        + _table(fields(AgentConfig))
        + "\n## reset_password\n\nRead by the reset daemon, which refuses an unknown key here: it "
        "could be the one that keeps\na stranger out.\n\n" + _table(own) + BESIDE
    )


def _table(rows: list[Field]) -> str:
    text = "| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n"
    for row in rows:
        text += f"| `{row.key}` | {row.type} | {row.default} | {row.doc} |\n"
    return text


if __name__ == "__main__":
    sys.stdout.write(page())
