"""A line of JSON for each request of a guest, without what a guest might say in confidence.

Queries and the headers of requests stay out of it: both can hold tokens.
"""

from __future__ import annotations

import json
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from .replies import GuestRequest

LONGEST_PATH: Final = 256


class AccessLogger(AbstractAccessLogger):
    """Logs who asked for what, the status, the size of the answer and the time it took."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line of one request that was answered."""
        path = request.raw_path.partition("?")[0].partition("#")[0]
        instance_id = request.instance_id if isinstance(request, GuestRequest) else None
        # JSON in ASCII, so that no guest can forge lines or steer a terminal.
        line = {
            "address": request.remote,
            "instance": instance_id,
            "method": request.method,
            "path": path[:LONGEST_PATH],
            "status": response.status,
            "bytes": response.body_length,
            "seconds": round(time, 6),
        }
        self.logger.info("%s", json.dumps(line))
