"""What the command line asks of a boot."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from .modules.base import Stage
from .secret import Secret


class Wishes(NamedTuple):
    """What the command line asks for, over the configuration."""

    stages: tuple[Stage, ...] = tuple(Stage)
    metadata_url: Optional[str] = None
    datasource: Optional[str] = None
    user_data: Optional[Secret] = None
    """In place of what the datasource serves."""
    instance_id: Optional[str] = None
    cloud_config: Mapping[str, Any] = {}
    """Above what all others say."""

    @property
    def plain(self) -> bool:
        """Whether nothing but stages is asked for: the machine's own data count."""
        named = (self.metadata_url, self.datasource, self.user_data, self.instance_id)
        return not self.cloud_config and all(each is None for each in named)
