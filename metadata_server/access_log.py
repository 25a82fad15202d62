"""A line for each request of a guest, without what a guest might say in confidence.

Queries and the headers of requests stay out of it: both can hold tokens.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

LONGEST_PATH = 256


class AccessLogger(AbstractAccessLogger):
    """Logs who asked for what, the status, the size of the answer and the time it took."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line of one request that was answered."""
        path = request.raw_path.partition("?")[0].partition("#")[0]
        # As repr writes it, so that no guest can forge lines or steer a terminal.
        self.logger.info(
            "%s %s %r %s %s %.4f s",
            request.remote or "-",
            request.method,
            path[:LONGEST_PATH],
            response.status,
            response.body_length,
            time,
        )
