"""Routes and rules in the words of ip(8). Pure."""

from __future__ import annotations

from .model import Route, Rule


def route_words(route: Route, device: str) -> str:
    """Return what comes after `ip route add`."""
    via = ["via", route.via] if route.via else []
    options = _pairs(
        ("metric", route.metric), ("table", route.table), ("src", route.source), ("mtu", route.mtu)
    )
    return " ".join(
        [route.to, *via, "dev", device, *options, *(["onlink"] if route.on_link else [])]
    )


def rule_words(rule: Rule) -> str:
    """Return what comes after `ip rule add`."""
    return " ".join(
        _pairs(
            ("from", rule.source),
            ("to", rule.to),
            ("table", rule.table),
            ("priority", rule.priority),
        )
    )


def _pairs(*pairs: tuple[str, object]) -> list[str]:
    return [word for key, value in pairs if value is not None for word in (key, str(value))]
