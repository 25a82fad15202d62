"""Who may import whom, and who may touch the machine: read from the source, not from a promise."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("agent", "metadata_server")
    for path in sorted((CHECKOUT / package).rglob("*.py"))
}
STANDARD_LIBRARY = sys.stdlib_module_names

# Patterns of modules, and what none of them may import. The first name of a pattern says whose.
FORBIDDEN = [
    ("agent*", ["metadata_server*", "aiohttp*", "asyncio*", "dataclasses", "inspect"]),
    ("metadata_server*", ["agent*"]),
    ("agent.errors", ["agent.host", "os", "subprocess"]),
    ("agent.instance", ["agent.host", "os", "subprocess"]),
    ("agent.schema", ["agent.host", "os", "subprocess"]),
    ("agent.user_data*", ["agent.host", "agent.modules*", "os", "shutil", "subprocess"]),
    ("agent.network.*", ["agent.modules*", "agent.boot", "os", "os.*", "shutil", "subprocess"]),
    *(
        (f"agent.network.{pure}", ["agent.host"])
        for pure in (
            *("bonds", "ip_words", "kernel_line", "model", "openstack", "places", "reading"),
            *("resolve", "source_routing", "v1", "v2"),
            *("ifupdown", "keyfile", "netplan", "networkd", "sysconfig"),
        )
    ),
    ("agent.datasources*", ["agent.modules*", "agent.boot", "subprocess", "shutil"]),
    (
        "agent.modules*",
        [
            *("os", "os.*", "shutil", "subprocess", "tempfile", "pty"),
            *("agent.boot", "agent.cli", "agent.datasources*"),
        ],
    ),
    ("metadata_server.tree", ["aiohttp*"]),
    ("metadata_server.ec2", ["aiohttp*"]),
    ("metadata_server.openstack", ["aiohttp*"]),
    ("metadata_server.huawei", ["aiohttp*"]),
    ("metadata_server.network_data", ["aiohttp*"]),
    ("metadata_server.tokens", ["aiohttp*"]),
    ("metadata_server.rendered", ["aiohttp*"]),
    ("metadata_server.instance", ["aiohttp*"]),
    ("metadata_server.hostname", ["aiohttp*"]),
    ("metadata_server.day.clock", ["aiohttp*"]),
    ("metadata_server.day.actions", ["aiohttp*"]),
    ("metadata_server.day.faults", ["aiohttp*"]),
    ("metadata_server.day.forms", ["aiohttp*"]),
    ("metadata_server.day.journal", ["aiohttp*"]),
    ("metadata_server.day.planner", ["aiohttp*"]),
    ("metadata_server.day.scenarios", ["aiohttp*"]),
    ("metadata_server.reset.policy", ["aiohttp*"]),
    ("metadata_server.reset.sealed", ["aiohttp*"]),
    ("metadata_server.reset.hashing", ["aiohttp*"]),
]
# Beyond the standard library and the own package.
ALLOWED_PACKAGES = [
    ("agent.reset_password*", {"yaml", "cryptography"}),
    ("agent*", {"yaml", "jinja2"}),
    ("metadata_server.pytest_plugin", {"pytest"}),
    ("metadata_server*", {"aiohttp", "cryptography", "passlib", "uvloop", "yaml"}),
]
# What lies below Host, and the daemon, which keeps its own keys.
MAY_CHANGE_THE_MACHINE = (
    "agent.host",
    "agent.accounts",
    "agent.account_tools",
    "agent.commands",
    "agent.files",
    "agent.gates",
    "agent.handler_child",
    "agent.homes",
    "agent.locks",
    "agent.plan",
    "agent.scripts",
    "agent.services",
    "agent.reset_password*",
)
CHANGES = {
    "os": {
        *("chmod", "chown", "fchmod", "fchown", "lchown", "link", "makedirs", "mkdir", "mknod"),
        *("remove", "removedirs", "rename", "renames", "replace", "rmdir", "symlink", "truncate"),
        *("unlink", "utime", "system", "popen", "fork", "execv", "execve", "execvp", "kill"),
        *("posix_spawn", "posix_spawnp", "setuid", "setgid", "mount", "setxattr"),
    },
    "subprocess": {"run", "Popen", "call", "check_call", "check_output", "getoutput"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree", "chown"},
    "socket": {"sethostname"},
}
METHODS = {"write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "unlink", "rmdir"}


class Use(NamedTuple):
    line: int
    name: str


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(), MODULES[module])


def package_of(module: str) -> list[str]:
    parts = module.split(".")
    return parts if MODULES[module].name == "__init__.py" else parts[:-1]


@cache
def imports(module: str) -> tuple[Use, ...]:
    """Return everything *module* imports, by absolute name, with names of `from` both ways."""
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found += [Use(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = package_of(module)
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found.append(Use(node.lineno, origin))
            members = [f"{origin}.{alias.name}" for alias in node.names]
            found += [Use(node.lineno, name) for name in members if name in MODULES]
    return tuple(found)


def matching(pattern: str) -> list[str]:
    return [module for module in MODULES if fnmatchcase(module, pattern)]


def is_a(name: str, pattern: str) -> bool:
    stem = pattern.removesuffix("*")
    return name == stem or (pattern.endswith("*") and name.startswith(f"{stem}."))


@pytest.mark.parametrize(("pattern", "forbidden"), FORBIDDEN, ids=[row[0] for row in FORBIDDEN])
def test_no_module_imports_what_its_layer_must_not(pattern: str, forbidden: list[str]) -> None:
    offences = [
        f"{module}:{use.line} imports {use.name}"
        for module in matching(pattern)
        for use in imports(module)
        if any(is_a(use.name, name) for name in forbidden)
    ]

    assert matching(pattern), f"no module is called {pattern} any more"
    assert offences == []


@pytest.mark.parametrize("module", MODULES)
def test_each_program_needs_only_its_own_libraries(module: str) -> None:
    allowed = next(names for pattern, names in ALLOWED_PACKAGES if fnmatchcase(module, pattern))
    own = module.partition(".")[0]

    foreign = {
        use.name.partition(".")[0]
        for use in imports(module)
        if use.name.partition(".")[0] not in STANDARD_LIBRARY | allowed | {own, "__future__"}
    }

    assert foreign == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_inside_a_package_are_relative(module: str) -> None:
    offences = [
        node.lineno
        for node in ast.walk(tree(module))
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and (node.module or "").partition(".")[0] in ("agent", "metadata_server", "linklocal")
        )
        or (
            isinstance(node, ast.Import)
            and any(
                alias.name.partition(".")[0] in ("agent", "metadata_server", "linklocal")
                for alias in node.names
            )
        )
    ]

    assert offences == []


def changes(module: str) -> Iterator[Use]:
    """Yield every call in *module* that changes files, accounts or processes of the machine."""
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if called.attr == "kill" and ast.unparse(node.args[-1]) == "0":
                continue  # Signal 0 only asks whether the process is there.
            if called.attr in CHANGES.get(owner, ()) or called.attr in METHODS:
                yield Use(node.lineno, f"{owner}.{called.attr}")
        elif isinstance(called, ast.Name) and called.id == "open":
            mode = node.args[1] if len(node.args) > 1 else ast.Constant("r")
            if not (isinstance(mode, ast.Constant) and mode.value in ("r", "rb")):
                yield Use(node.lineno, "open for writing")


@pytest.mark.parametrize("module", matching("agent*"))
def test_only_the_host_layer_changes_the_machine(module: str) -> None:
    if any(fnmatchcase(module, pattern) for pattern in MAY_CHANGE_THE_MACHINE):
        return

    offences = [f"{module}:{use.line} {use.name}" for use in changes(module)]

    assert offences == []


def test_the_boot_imports_no_heavy_library_before_it_needs_it() -> None:
    """What `python -m agent` loads with the module, whatever the user data says."""
    seen: set[str] = set()
    ahead = ["agent.__main__"]
    while ahead:
        module = ahead.pop()
        for node in tree(module).body:
            if isinstance(node, ast.Import):
                seen.update(alias.name for alias in node.names)
        for use in at_import(module):
            if use in MODULES and use not in seen:
                ahead.append(use)
            seen.add(use)

    heavy = {"cryptography", "jinja2", "email", "http.client", "subprocess", "urllib.request"}
    assert heavy & seen == set()


def at_import(module: str) -> Iterator[str]:
    """Yield what importing *module* imports: its top level, `if TYPE_CHECKING` left out."""
    lines = {node.lineno for node in tree(module).body}
    for use in imports(module):
        if use.line in lines:
            yield use.name
