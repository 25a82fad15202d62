"""The reference page of all modules, from their schemas: `python -m agent.modules.reference`."""

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from ..schema import keys
from ..secret import Secret
from . import NAMES, NICHE, Name, load_module
from .apt import Source
from .base import Module
from .disk_setup import Disk, FileSystem
from .readers import read_mode
from .rsyslog import RsyslogSettings, Snippet
from .set_passwords import ChpasswdUser
from .user import User

# Records that a schema does not name, because their section has more shapes than a type tells.
RECORDS: dict[tuple[str, str], Any] = {
    ("UsersGroups", "users"): User,
    ("Chpasswd", "users"): ChpasswdUser,
    ("AptSettings", "sources"): Source,
    ("DiskSetup", "disk_setup"): Disk,
    ("DiskSetup", "fs_setup"): FileSystem,
    ("Rsyslog", "rsyslog"): RsyslogSettings,
    ("RsyslogSettings", "configs"): Snippet,
}
_WORDS = {
    str: "text",
    Secret: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    dict: "mapping",
    Mapping: "mapping",
    Any: "",
}
_FREQUENCIES = {"always": "every boot", "instance": "once for an instance", "once": "once ever"}

HEAD = """\
# Modules

What each section of a cloud-config makes of the machine. This page is made from the modules' own
schemas by `python -m agent.modules.reference`; a test says when it is stale.

A key that is not listed is reported with the nearest one that is, and the rest is applied. A value
that cannot be understood is reported with its place, and its item is left out; the others go on.
Dashes in a key are taken for underscores, and reported as deprecated.

`cloud_init_modules`, `cloud_config_modules` and `cloud_final_modules` say which of them run, and
how often: see [lists of modules](user-data.md#lists-of-modules).

"""


class Field(NamedTuple):
    """One key of a section or of an item."""

    key: str
    type: str
    default: str
    doc: str


def page() -> str:
    """Return the whole page."""
    modules = [(name, load_module(name.name)) for name in NAMES]
    lines = ["| Module | Keys | Stage | Runs |", "| --- | --- | --- | --- |"]
    lines += [_row(name, module) for name, module in modules]
    text = HEAD + "".join(f"{line}\n" for line in lines)
    for name, module in modules:
        text += f"\n## {name.name}\n\n{_about(module)}\n"
        for title, schema in schemas(module.schema, ""):
            text += _table(title, schema)
    return text + _rest("Not part of Linklocal", NICHE)


def _rest(title: str, names: frozenset[str]) -> str:
    return f"\n## {title}\n\n{', '.join(f'`{name}`' for name in sorted(names))}\n"


def _row(name: Name, module: Module) -> str:
    said = ", ".join(f"`{key}`" for key in name.keys) or "none"
    when = _FREQUENCIES[module.frequency.value]
    if name.always and name.keys:
        when += ", also without its keys"
    return f"| [{name.name}](#{name.name}) | {said} | {name.stage.value} | {when} |"


def _about(module: Module) -> str:
    doc = sys.modules[module.apply.__module__].__doc__ or ""
    first, _, more = doc.strip().partition("\n\n")
    first = first.partition(": ")[2] or first
    text = first[0].upper() + first[1:]
    return f"{text}\n\n{more}".strip() if more else text


def schemas(schema: Any, title: str) -> Iterator[tuple[str, Any]]:
    """Yield *schema* and the records within, each with the keys that lead to it, by dots."""
    if keys(schema):
        yield title, schema
    hints = get_type_hints(schema, include_extras=True)
    for name in schema._fields:
        record = RECORDS.get((schema.__name__, name)) or _record(hints[name])
        if record is not None:
            yield from schemas(record, f"{title}.{name}".lstrip("."))


def _record(hint: Any) -> Any:
    if hasattr(hint, "_fields"):
        return hint
    return next(filter(None, map(_record, get_args(hint))), None)


def _table(title: str, schema: Any) -> str:
    text = f"\n`{title}`:\n" if title else ""
    text += "\n| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n"
    for field in fields(schema):
        text += f"| `{field.key}` | {field.type} | {field.default} | {field.doc} |\n"
    return text


def fields(schema: Any) -> list[Field]:
    """Return the keys of *schema* with their documentation, in their order."""
    hints = get_type_hints(schema, include_extras=True)
    docs = _docs(schema)
    return [
        Field(key, _type(hints[name]), _default(schema, name), docs.get(name, ""))
        for name, key in zip(schema._fields, keys(schema))
    ]


def _docs(schema: Any) -> dict[str, str]:
    """Return the texts below the fields; Python keeps them in the source alone."""
    module = importlib.import_module(schema.__module__)
    with open(str(module.__file__), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    (body,) = [
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == schema.__name__
    ]
    found: dict[str, str] = {}
    for field, text in zip(body, body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            value = text.value if isinstance(text, ast.Expr) else None
            doc = value.value if isinstance(value, ast.Constant) else ""
            found[field.target.id] = " ".join(str(doc).replace("|", "\\|").split())
    return found


def _type(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return "octal mode" if read_mode in arguments else _type(arguments[0])
    if origin is Union:
        words = [_type(part) for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is tuple or hasattr(hint, "_fields"):
        return "list" if origin is tuple else "mapping"
    if origin is not None and arguments and all(isinstance(each, str) for each in arguments):
        return ", ".join(arguments)
    return _WORDS.get(origin or hint, "")


def _default(schema: Any, name: str) -> str:
    if name not in schema._field_defaults:
        return "required"
    value = schema._field_defaults[name]
    if name == "permissions":
        return f"`'{value:04o}'`"
    if value in (None, (), {}, "") or isinstance(value, Secret):
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"`{text}`" if len(text) < 40 else "a long text"


if __name__ == "__main__":
    sys.stdout.write(page())
