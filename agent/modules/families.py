"""What differs between the families of distributions, each family's facts in one place."""

from typing import NamedTuple, Optional

from ..host import Host


class Family(NamedTuple):
    """The facts that modules need about a distribution."""

    name: str
    relatives: frozenset[str]
    """Names in ID and ID_LIKE of os-release that mean this family."""
    ssh_services: tuple[str, ...]
    """Names the service of sshd goes by, likeliest first."""
    sshd_directory: Optional[str]
    """The directory sshd wants at its start and its service makes."""
    host_key_group: Optional[str]
    """Group that may read the private host keys, where it exists."""
    user_groups: tuple[str, ...]
    """Groups of the image's default user."""
    user_gecos: str
    user_shell: str
    own_address: str
    """The loopback address that stands for the host's own name."""
    hosts: str
    """/etc/hosts; {names} becomes the full and the short name."""
    prefers_fqdn: bool
    """The host name is the full one when there is one."""
    timezone_file: Optional[str]
    """A file that names the zone, beside /etc/localtime."""
    locale_file: str
    locale_line: str
    """The line of that file; {locale} becomes the locale."""
    trust_directory: str
    """Where certificates that are trusted here are put."""
    trust_command: tuple[str, ...]
    """What makes them trusted."""


DEBIAN = Family(
    name="debian",
    relatives=frozenset({"debian", "ubuntu"}),
    ssh_services=("ssh", "sshd"),
    sshd_directory="/run/sshd",
    host_key_group=None,
    user_groups=(
        "adm",
        "audio",
        "cdrom",
        "dialout",
        "dip",
        "floppy",
        "netdev",
        "plugdev",
        "sudo",
        "video",
    ),
    user_gecos="Debian",
    user_shell="/bin/bash",
    own_address="127.0.1.1",
    hosts="""\
127.0.1.1 {names}
127.0.0.1 localhost

::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
""",
    prefers_fqdn=False,
    timezone_file="/etc/timezone",
    locale_file="/etc/default/locale",
    locale_line="LANG={locale}",
    trust_directory="/usr/local/share/ca-certificates",
    trust_command=("update-ca-certificates",),
)

RHEL = Family(
    name="rhel",
    relatives=frozenset(
        {"rhel", "fedora", "centos", "openeuler", "euleros", "hce", "amzn", "rocky", "almalinux"}
    ),
    ssh_services=("sshd",),
    sshd_directory=None,
    host_key_group="ssh_keys",
    user_groups=("adm", "systemd-journal", "wheel"),
    user_gecos="Cloud User",
    user_shell="/bin/bash",
    own_address="127.0.0.1",
    hosts="""\
127.0.0.1 {names}
127.0.0.1 localhost.localdomain localhost
127.0.0.1 localhost4.localdomain4 localhost4

::1 {names}
::1 localhost.localdomain localhost
::1 localhost6.localdomain6 localhost6
""",
    prefers_fqdn=True,
    timezone_file=None,
    locale_file="/etc/locale.conf",
    locale_line="LANG={locale}",
    trust_directory="/etc/pki/ca-trust/source/anchors",
    trust_command=("update-ca-trust", "extract"),
)

SUSE = Family(
    name="suse",
    relatives=frozenset({"suse", "opensuse", "sles", "opensuse-leap", "opensuse-tumbleweed"}),
    ssh_services=("sshd",),
    sshd_directory=None,
    host_key_group=None,
    user_groups=("cdrom", "users"),
    user_gecos="Cloud User",
    user_shell="/bin/bash",
    own_address="127.0.0.1",
    hosts="""\
127.0.0.1 localhost
127.0.0.1 {names}

::1 localhost ipv6-localhost ipv6-loopback
fe00::0 ipv6-localnet
ff00::0 ipv6-mcastprefix
ff02::1 ipv6-allnodes
ff02::2 ipv6-allrouters
ff02::3 ipv6-allhosts
""",
    prefers_fqdn=False,
    timezone_file=None,
    locale_file="/etc/locale.conf",
    locale_line="LANG={locale}",
    trust_directory="/etc/pki/trust/anchors",
    trust_command=("update-ca-certificates",),
)

ALPINE = Family(
    name="alpine",
    relatives=frozenset({"alpine"}),
    ssh_services=("sshd",),
    sshd_directory=None,
    host_key_group=None,
    user_groups=("adm", "wheel"),
    user_gecos="Alpine",
    user_shell="/bin/ash",
    own_address="127.0.1.1",
    hosts="""\
127.0.1.1 {names}
127.0.0.1 localhost localhost.localdomain

::1 localhost localhost.localdomain
""",
    prefers_fqdn=False,
    timezone_file="/etc/timezone",
    locale_file="/etc/profile.d/50-linklocal-locale.sh",
    locale_line="export LANG={locale}",
    trust_directory="/usr/local/share/ca-certificates",
    trust_command=("update-ca-certificates",),
)

FAMILIES = (DEBIAN, RHEL, SUSE, ALPINE)


def os_release(host: Host) -> dict[str, str]:
    """Return what os-release says, in small letters."""
    text = host.read("/etc/os-release") or host.read("/usr/lib/os-release") or b""
    said: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        said[key] = value.strip().strip("\"'").lower()
    return said


def user_groups(host: Host) -> tuple[str, ...]:
    """Return the groups of the image's default user on *host*."""
    groups = family(host).user_groups
    said = os_release(host)
    if said.get("ID") == "debian" and said.get("VERSION_ID") not in ("10", "11", "12"):
        # Debian 13 has given up what was once for programs that set up networks.
        return tuple(group for group in groups if group != "netdev")
    return groups


def family(host: Host) -> Family:
    """Return the family of *host* by its os-release; Debian's facts when it says nothing known."""
    said = os_release(host)
    for word in (said.get("ID", ""), *said.get("ID_LIKE", "").split()):
        for candidate in FAMILIES:
            if word in candidate.relatives:
                return candidate
    return DEBIAN
