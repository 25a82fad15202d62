"""ssh: the machine's host keys, and the instance's public keys for the default user and root."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Optional

from ..host import Host
from ..secret import Secret
from .authorized_keys import REDIRECT, authorize, checked, read_keys, redirected
from .base import Context, Frequency, Module, Stage
from .families import family
from .memory import recall, remember
from .readers import kind, read_line
from .sshd_config import complaint
from .user_list import default_user

DIRECTORY = "/etc/ssh"
TYPES = ("rsa", "ecdsa", "ed25519")
_HOST_KEY = re.compile(r"ssh_host_.*key(-cert)?(\.pub)?")
_KEY_NAME = re.compile(r"(rsa|dsa|ecdsa|ed25519)_(private|public|certificate)")


def read_key_types(raw: object) -> tuple[str, ...]:
    """Return types of host keys that ssh-keygen can make."""
    types = (raw,) if isinstance(raw, str) else raw
    if isinstance(types, (list, tuple)) and all(each in (*TYPES, "dsa") for each in types):
        return tuple(types)
    raise ValueError(f"expected types among {', '.join(TYPES)}")


def read_host_keys(raw: object) -> dict[str, Secret]:
    """Return host keys by names such as rsa_private, ed25519_public, ecdsa_certificate."""
    if not isinstance(raw, Mapping):
        # The loader takes a reader's ValueError alone.
        raise ValueError(f"expected names and keys, got {kind(raw)}")  # noqa: TRY004
    keys: dict[str, Secret] = {}
    for name, text in raw.items():
        if not isinstance(name, str) or not _KEY_NAME.fullmatch(name):
            raise ValueError(f"expected names such as 'ed25519_private', got {name!r}")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"expected the text of a key at {name}")
        # ssh-keygen reads no private key without the newline at its end.
        keys[name] = Secret(text.replace("\r\n", "\n").strip().encode() + b"\n")
    return keys


class SshPrinting(NamedTuple):
    """What is shown of the host keys."""

    emit_keys_to_console: bool = True
    """Show the public host keys, and their fingerprints, on the console."""


class Ssh(NamedTuple):
    """Host keys, and the keys that open the default user's account and root's."""

    ssh_keys: Annotated[Optional[dict[str, Secret]], read_host_keys] = None
    """Host keys to use: `<type>_private`, `<type>_public`, `<type>_certificate`; none are made."""
    ssh_authorized_keys: Annotated[tuple[str, ...], read_keys] = ()
    """Public keys for the default user, beside the instance's."""
    ssh_deletekeys: bool = True
    """Remove the host keys that came with the image."""
    ssh_genkeytypes: Annotated[tuple[str, ...], read_key_types] = TYPES
    """Types of host keys to make: rsa, ecdsa, ed25519."""
    disable_root: bool = True
    """Let the keys into root's account only to say that the default user is meant."""
    disable_root_opts: Annotated[str, read_line] = REDIRECT
    """Options put before those keys; $USER is the default user, $DISABLE_USER is root."""
    allow_public_ssh_keys: bool = True
    """Use the public keys of the instance, not those of the user data alone."""
    ssh_quiet_keygen: bool = False
    """Taken and needless: nothing is printed while keys are made."""
    ssh_publish_hostkeys: Any = None
    """Taken and without effect: these datasources take no host keys."""
    ssh: Optional[SshPrinting] = None
    """What is shown of the host keys."""


def apply(section: Ssh, context: Context) -> None:
    """See to the host keys, then to the accounts."""
    _host_keys(section, context)

    served = context.instance.public_keys if section.allow_public_ssh_keys else ()
    keys = checked(served, "public_keys", context)
    keys += checked(section.ssh_authorized_keys, "ssh_authorized_keys", context)
    user = default_user(context)
    if user:
        authorize(user, keys, "ssh_authorized_keys", context)
    if section.disable_root:
        keys = redirected(keys, user or "NONE", "root", section.disable_root_opts)
    authorize("root", keys, "disable_root", context)


def _host_keys(section: Ssh, context: Context) -> None:
    """Put the given host keys in place, or make new ones; once for each instance."""
    host = context.host
    if recall(context, "ssh_host_keys"):
        return
    given = _given(section, context)
    if not given and host.which("ssh-keygen") is None:
        if section.ssh_genkeytypes != TYPES:
            context.report.add("ssh_genkeytypes", "not run", "there is no ssh-keygen here")
        return
    if section.ssh_deletekeys:
        for name in host.names(DIRECTORY):
            if _HOST_KEY.fullmatch(name):
                host.remove(f"{DIRECTORY}/{name}")
    if given:
        for path, content in given.items():
            host.write(path, content, mode=0o644 if path.endswith(".pub") else 0o600)
        _announce_certificates(given, context)
    else:
        _make(section.ssh_genkeytypes, context)
    remember(context, "ssh_host_keys", "given" if given else "made")


def _given(section: Ssh, context: Context) -> dict[str, Secret]:
    """Return the files of the given keys that ssh-keygen can read, public halves included."""
    files: dict[str, Secret] = {}
    given = section.ssh_keys or {}
    for name, content in given.items():
        kind_, _, half = name.partition("_")
        path = f"{DIRECTORY}/ssh_host_{kind_}_key"
        if half != "private":
            files[path + {"public": ".pub", "certificate": "-cert.pub"}[half]] = content
            continue
        public = _public_half(content, context)
        if public is None:
            context.report.refused(
                f"ssh_keys.{name}", "expected a private key without a passphrase"
            )
            return {}
        files[path] = content
        if public and f"{kind_}_public" not in given:
            files[f"{path}.pub"] = Secret(public)
    return files


def _public_half(private: Secret, context: Context) -> Optional[bytes]:
    """Return the public line of a key, empty when nothing here can tell; None for no key."""
    host = context.host
    program = host.which("ssh-keygen")
    if program is None or not host.runs:
        return b""
    draft = f"{context.scripts}/host_key.draft"
    host.write(draft, private, mode=0o600)
    try:
        completed = host.run([program, "-y", "-P", "", "-f", draft])
    finally:
        host.remove(draft)
    return completed.output if completed.status == 0 else None


def _announce_certificates(given: Mapping[str, Secret], context: Context) -> None:
    host = context.host
    config = host.read("/etc/ssh/sshd_config")
    if config is None:
        return
    text = config.decode("utf-8", "surrogateescape")
    for path in given:
        line = f"HostCertificate {path}"
        if path.endswith("-cert.pub") and line not in text.splitlines():
            text = f"{line}\n{text}"
    if text.encode("utf-8", "surrogateescape") == config:
        return
    said = complaint(text, context)
    if said is not None:
        context.report.refused("ssh_keys", f"sshd refuses the certificate: {said}")
        return
    host.write("/etc/ssh/sshd_config", text.encode("utf-8", "surrogateescape"), mode=0o600)


def _make(types: tuple[str, ...], context: Context) -> None:
    host = context.host
    group = family(host).host_key_group
    for each in types:
        path = f"{DIRECTORY}/ssh_host_{each}_key"
        if host.kind(path) is not None:
            continue
        completed = host.run(["ssh-keygen", "-q", "-t", each, "-N", "", "-f", path])
        if completed.status != 0:
            words = completed.output.decode("utf-8", "replace").split()
            context.report.failed("ssh_genkeytypes", f"{each}: {' '.join(words) or 'no reason'}")
        elif group is not None and host.group(group) is not None:
            _share(host, path, group)


def _share(host: Host, path: str, group: str) -> None:
    content = host.read(path)
    if content is not None:
        host.write(path, Secret(content), mode=0o640, owner=f"root:{group}")


MODULE = Module("ssh", Ssh, Stage.NETWORK, Frequency.INSTANCE, apply, needs_section=False)
