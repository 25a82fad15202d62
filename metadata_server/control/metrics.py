"""`/metrics`: numbers for Prometheus, for whoever has a token as everything else here."""

from __future__ import annotations

from aiohttp import web

from ..metrics import MEDIA, Metrics
from .routes import Answer, Call
from .schemas import TEXT


def metrics_calls(metrics: Metrics) -> tuple[Call, ...]:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(body=metrics.page().encode(), headers={"Content-Type": MEDIA})

    return (
        Call(
            "GET",
            "/metrics",
            "metrics",
            "Show how much was asked, in the text format of Prometheus.",
            page,
            {200: Answer("The numbers.", TEXT, media="text/plain")},
            group="server",
        ),
    )
