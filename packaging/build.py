"""Build the packages: .deb and .rpm by nfpm, manual pages, SBOM, checksums, signature.

    python packaging/build.py [--output dist/packages] [--sign KEY]

The same checkout makes the same bytes: every time in them is that of the last commit, or
SOURCE_DATE_EPOCH. KEY names a secret key of gpg, which asks for its pass phrase itself.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
HERE = CHECKOUT / "packaging"
LIBRARY = "/usr/lib/linklocal"
KINDS = ("deb", "rpm")
SYSTEMD = {"deb": "/usr/lib/systemd", "rpm": "/usr/lib/systemd"}
ZSH = {"deb": "/usr/share/zsh/vendor-completions", "rpm": "/usr/share/zsh/site-functions"}


class Command(NamedTuple):
    """A command of a package, and where the pages about it come from."""

    name: str
    section: int
    module: str
    parser: str
    entry: str
    """What starts it, as in pyproject.toml."""
    words: str


COMMANDS = {
    "linklocal-agent": (
        Command(
            *("linklocal-agent", 8, "agent.cli", "parser", "agent.start:agent"),
            "first-boot agent",
        ),
        Command(
            *("linklocal-resetd", 8, "agent.reset_password.cli", "parser", "agent.start:resetd"),
            "daemon for sealed password resets",
        ),
    ),
    "linklocal-server": (
        Command(
            *("linklocal-server", 8, "metadata_server.cli", "_parser", "metadata_server.cli:main"),
            "instance metadata service",
        ),
        Command(
            *(
                "linklocal",
                1,
                "metadata_server.ctl.cli",
                "make_parser",
                "metadata_server.ctl.start:run",
            ),
            "control plane of linklocal-server from the command line",
        ),
    ),
    "linklocal-agent-cloud-init": (
        Command(
            *("cloud-init", 1, "agent.cloud_init", "_parser", "agent.start:cloud_init"),
            "what programs ask of cloud-init, answered by linklocal-agent",
        ),
    ),
}
FILES = {
    "linklocal-agent": ("linklocal-agent.yaml", "agent-configuration.md"),
    "linklocal-server": ("linklocal-server.yaml", "configuration.md"),
}
SOURCES = {"linklocal-agent": "agent", "linklocal-server": "metadata_server"}
REQUIRES = {
    "linklocal-agent": ("pyyaml", "cryptography", "jinja2"),
    "linklocal-server": ("aiohttp", "cryptography", "pyyaml", "passlib"),
    "linklocal-agent-cloud-init": (),
}


class Release(NamedTuple):
    """What is built."""

    version: str
    epoch: int
    """Seconds since 1970 that every file in the packages is said to be from."""

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.epoch, timezone.utc)


def main() -> int:
    """Build everything; return 0."""
    parser = argparse.ArgumentParser(description="Build the packages.")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "dist/packages")
    parser.add_argument("--sign", metavar="KEY", help="a secret key of gpg")
    options = parser.parse_args()
    release = Release(_version(), _epoch())
    # What argparse and the converters print is the same everywhere.
    os.environ.update(SOURCE_DATE_EPOCH=str(release.epoch), COLUMNS="80", LC_ALL="C", TZ="UTC")
    sys.path.insert(0, str(CHECKOUT))
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    # A place of its own: two builds at once are not in each other's way.
    with tempfile.TemporaryDirectory(prefix="linklocal-packages-") as stage:
        build(Path(stage), options.output, release)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(options.output.iterdir())
    ]
    (options.output / "SHA256SUMS").write_text("".join(sums))
    if options.sign:
        sign(options.output / "SHA256SUMS", options.sign)
    for path in sorted(options.output.iterdir()):
        print(f"{path.stat().st_size:>9} {path.name}")
    return 0


def build(stage: Path, output: Path, release: Release) -> None:
    """Build the packages and their bills of materials into *output*, by way of *stage*."""
    described = yaml.safe_load((HERE / "nfpm.yaml").read_text())
    for name in described["packages"]:
        lay_out(name, stage / name, release)
    (stage / "changelog.yaml").write_text(changelog(release))
    settle(stage, release.epoch)
    for name, package in described["packages"].items():
        for kind in KINDS:
            path = stage / f"{name}.{kind}.yaml"
            path.write_text(
                yaml.safe_dump(recipe(described["common"], name, package, kind, stage, release))
            )
            _run("nfpm", "package", "--config", path, "--packager", kind, "--target", output)
        bill = output / f"{name}-{release.version}.cdx.json"
        bill.write_text(bill_of_materials(name, release))


def recipe(
    common: dict[str, Any],
    name: str,
    package: dict[str, Any],
    kind: str,
    stage: Path,
    release: Release,
) -> dict[str, Any]:
    """Return nfpm's configuration of one package of one kind."""
    made = {**copy.deepcopy(common), **copy.deepcopy(package)}
    made |= made.pop("overrides", {}).get(kind, {})
    made |= {"name": name, "version": release.version, "mtime": release.time.isoformat()}
    made["changelog"] = str(stage / "changelog.yaml")
    made["scripts"] = {when: str(HERE / "scripts" / file) for when, file in made["scripts"].items()}
    made["contents"] = [
        _content(each, kind, stage, release)
        for given in made["contents"]
        if given.get("packager", kind) == kind
        for each in _files(given, kind, stage)
    ]
    for other in KINDS:
        if other != kind:
            made.pop(other, None)
    return made


def _files(given: dict[str, Any], kind: str, stage: Path) -> list[dict[str, Any]]:
    """Return *given*, or each file of the pages and documents it stands for: rpm marks them."""
    if not given["dst"].startswith(("/usr/share/man/", "/usr/share/doc/")):
        return [given]
    names = sorted(path.name for path in (stage / given["src"]).iterdir())
    return [
        {"src": f"{given['src']}/{name}", "dst": f"{given['dst']}/{name}"}
        | ({"type": "doc"} if kind == "rpm" else {})
        for name in names
    ]


def _content(each: dict[str, Any], kind: str, stage: Path, release: Release) -> dict[str, Any]:
    each = dict(each)
    each.pop("packager", None)
    if "src" in each:
        inside = each["src"].startswith(("packaging/", "systemd/"))
        each["src"] = str((CHECKOUT if inside else stage) / each["src"])
    each["dst"] = each["dst"].replace("${SYSTEMD}", SYSTEMD[kind]).replace("${ZSH}", ZSH[kind])
    info = each.setdefault("file_info", {})
    info["mtime"] = release.time.isoformat()
    if "mode" in each:
        info["mode"] = each.pop("mode")
    elif each.get("type") not in ("tree", "dir"):
        info.setdefault("mode", 0o644)
    return each


def lay_out(name: str, stage: Path, release: Release) -> None:
    """Put the files of the package *name* that are made, not only copied, below *stage*."""
    if name in SOURCES:
        source = CHECKOUT / SOURCES[name]
        for path in sorted(source.rglob("*")):
            if path.suffix in (".py", ".yaml", ".json") and "__pycache__" not in path.parts:
                copied = stage / "lib" / path.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(path.read_bytes())
    for command in COMMANDS[name]:
        start = stage / "bin" / command.name
        start.parent.mkdir(parents=True, exist_ok=True)
        start.write_text(starter(command))
        complete(stage, command)
        _page(stage, command.name, command.section, manual(command, release))
    if name in FILES:
        title, source_page = FILES[name]
        _page(stage, title, 5, file_manual(title, CHECKOUT / "docs" / source_page, release))
    doc = stage / "doc"
    doc.mkdir()
    shutil.copy(HERE / "copyright", doc / "copyright")
    changes = (CHECKOUT / "CHANGELOG.md").read_bytes()
    (doc / "changelog.gz").write_bytes(gzip.compress(changes, 9, mtime=0))


def complete(stage: Path, command: Command) -> None:
    """Put what completes *command* below *stage*, named as each shell looks for it."""
    from metadata_server.ctl.completion import script

    parser = parser_of(command)
    names = {"bash": command.name, "zsh": f"_{command.name}", "fish": f"{command.name}.fish"}
    for shell, name in names.items():
        path = stage / "completion" / shell / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(shell, parser))


def starter(command: Command) -> str:
    """Return the program that starts *command*: isolated, so that no environment alters it."""
    module, _, entry = command.entry.partition(":")
    return (
        "#!/usr/bin/python3 -I\n"
        "import sys\n\n"
        f'sys.path.insert(0, "{LIBRARY}")\n\n'
        f"from linklocal.{module} import {entry}  # noqa: E402\n\n"
        f"sys.exit({entry}())\n"
    )


def parser_of(command: Command) -> argparse.ArgumentParser:
    """Return the parser of *command*, with all it takes."""
    made: argparse.ArgumentParser = getattr(
        importlib.import_module(command.module), command.parser
    )()
    return made


def manual(command: Command, release: Release) -> str:
    """Return the manual page of *command*, made of its own parser and what stands in man/."""
    from argparse_manpage.manpage import Manpage

    parser = parser_of(command)
    more = HERE / f"man/{command.name}.{command.section}"
    page = Manpage(
        parser,
        {
            "manual_section": command.section,
            "manual_title": "Linklocal",
            "project_name": "linklocal",
            "version": release.version,
            "description": command.words,
            "date": release.time.date().isoformat(),
            "include": str(more),
        },
    )
    # The date is no place for the soft hyphens that argparse-manpage escapes everywhere.
    head, _, rest = str(page).partition("\n")
    return head.replace("\\-", "-") + "\n" + rest


def file_manual(title: str, page: Path, release: Release) -> str:
    """Return the manual page about a file, made of the project's *page* about it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", page.read_text())
    heading, _, rest = re.sub(r"\A(<!--.*?-->\s*)+", "", text, flags=re.DOTALL).partition("\n")
    day = release.time.date().isoformat()
    head = f'% "{title}" "5" "{day}" "linklocal {release.version}" "Linklocal"\n'
    words = heading.lstrip("# ").rstrip(".")
    named = f"# NAME\n\n{title} - {words[0].lower()}{words[1:]}\n\n# DESCRIPTION\n"
    argv = ["go-md2man"]
    done = subprocess.run(
        argv, input=head + named + rest, check=True, capture_output=True, text=True
    )
    # A fixed font has one name that every man(1) knows.
    return done.stdout.replace("\\fC", "\\fB").replace("\\-", "-", 2)


def _page(stage: Path, name: str, section: int, text: str) -> None:
    path = stage / f"man{section}/{name}.{section}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def changelog(release: Release) -> str:
    """Return the packages' own changelog as nfpm reads it; it points at the project's."""
    entry = {
        "semver": f"{release.version}-1",
        "date": release.time.isoformat(),
        "packager": "The Linklocal developers <developers@linklocal.example>",
        "changes": [{"note": f"Release {release.version}; what is new is in changelog.gz."}],
        "deb": {"urgency": "medium", "distributions": ["stable"]},
    }
    return yaml.safe_dump([entry])


def bill_of_materials(name: str, release: Release) -> str:
    """Return the SBOM of a package as CycloneDX JSON: itself, and what it needs besides."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.output.json import JsonV1Dot5

    license_ = DisjunctiveLicense(id="Apache-2.0")
    own = Component(
        name=name,
        version=release.version,
        type=ComponentType.APPLICATION,
        licenses=[license_],
        bom_ref=f"{name}@{release.version}",
    )
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{name}@{release.version}@{release.epoch}")
    )
    bom.metadata.timestamp = release.time
    bom.metadata.component = own
    needed = [
        Component(name=each, type=ComponentType.LIBRARY, bom_ref=each) for each in REQUIRES[name]
    ]
    for component in needed:
        bom.components.add(component)
    bom.register_dependency(own, needed)
    return JsonV1Dot5(bom).output_as_string(indent=2) + "\n"


def sign(sums: Path, key: str) -> None:
    """Sign *sums* with the secret *key*; gpg asks for a pass phrase by itself."""
    _run("gpg", "--local-user", key, "--armor", "--detach-sign", "--output", f"{sums}.asc", sums)


def settle(stage: Path, epoch: int) -> None:
    """Give every file below *stage* the release's time and the modes of a package."""
    for path in [*stage.rglob("*"), stage]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        os.utime(path, (epoch, epoch))


def _version() -> str:
    found = re.search(r'^VERSION = "([^"]+)"', (CHECKOUT / "agent/version.py").read_text(), re.M)
    if not found:
        raise SystemExit('agent/version.py: expected a line VERSION = "…"')
    return found[1]


def _epoch() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    argv = ["git", "log", "-1", "--format=%ct"]
    return int(
        subprocess.run(argv, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    )


def _run(program: str, *words: object) -> None:
    # nfpm lies beside the interpreter, in the virtual environment.
    beside = Path(sys.executable).parent / program
    argv = [str(beside) if beside.exists() else program, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{program}: exit status {done.returncode}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
