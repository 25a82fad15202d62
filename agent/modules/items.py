"""Items of a section that has more shapes than a schema can tell, loaded one by one."""

from collections.abc import Mapping
from typing import Any, Optional

from ..errors import ConfigError
from ..report import Report
from ..schema import load


def load_item(schema: Any, raw: Mapping[str, Any], place: str, report: Report) -> Optional[Any]:
    """Return *raw* as *schema*, None when anything of it is refused; *report* says what."""
    own = Report()
    try:
        item = load(schema, raw, own, place)
    except ConfigError as error:
        if not any(each.result == "refused" for each in own.entries):
            own.refused(place, str(error).removeprefix(f"{place}: "))
        item = None
    report.entries += own.entries
    # A default never stands in for what was meant otherwise.
    return None if any(each.result == "refused" for each in own.entries) else item
