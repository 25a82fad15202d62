"""The modules: what each section of cloud-config makes of the machine.

NAMES is cheap to read, so that a module is imported only when one of its keys is there.
"""

from typing import NamedTuple

from .base import Module, Stage


class Name(NamedTuple):
    """A row of NAMES: a module, the stage it runs in, and every key of its section."""

    name: str
    stage: Stage
    keys: tuple[str, ...] = ()
    always: bool = False
    """It runs without any of its keys, too."""
    again: bool = False
    """It has its turn at every boot; others are not imported once they ran for the instance."""
    served: str = ""
    """A field of the instance's data that has it run without any of its keys, too."""


# By stage, then in the order of running. Files come before users, so that a skeleton or a
# useradd default can be among them; keys come after users, passwords after keys.
NAMES = (
    Name("random_seed", Stage.NETWORK, ("random_seed",), served="random_seed"),
    Name("injected_files", Stage.NETWORK, served="files"),
    Name("bootcmd", Stage.NETWORK, ("bootcmd",), again=True),
    Name("write_files", Stage.NETWORK, ("write_files",)),
    Name("growpart", Stage.NETWORK, ("growpart", "resize_rootfs"), always=True, again=True),
    Name("disk_setup", Stage.NETWORK, ("disk_setup", "fs_setup", "device_aliases")),
    Name("mounts", Stage.NETWORK, ("mounts", "mount_default_fields", "swap", "device_aliases")),
    Name(
        "hostname",
        Stage.NETWORK,
        (
            "hostname",
            "fqdn",
            "prefer_fqdn_over_hostname",
            "preserve_hostname",
            "create_hostname_file",
        ),
        always=True,
        again=True,
    ),
    Name("hosts", Stage.NETWORK, ("manage_etc_hosts",), again=True),
    Name("resolv_conf", Stage.NETWORK, ("manage_resolv_conf", "resolv_conf")),
    Name("ca_certs", Stage.NETWORK, ("ca_certs",)),
    Name("rsyslog", Stage.NETWORK, ("rsyslog", "rsyslog_filename", "rsyslog_dir")),
    Name("users_groups", Stage.NETWORK, ("groups", "users", "user", "system_info"), always=True),
    Name(
        "ssh",
        Stage.NETWORK,
        (
            "ssh_keys",
            "ssh_authorized_keys",
            "ssh_deletekeys",
            "ssh_genkeytypes",
            "disable_root",
            "disable_root_opts",
            "allow_public_ssh_keys",
            "ssh_quiet_keygen",
            "ssh_publish_hostkeys",
            "ssh",
        ),
        always=True,
    ),
    Name("set_passwords", Stage.NETWORK, ("password", "chpasswd", "ssh_pwauth")),
    Name("ssh_import_id", Stage.CONFIG, ("ssh_import_id",)),
    Name("keyboard", Stage.CONFIG, ("keyboard",)),
    Name("locale", Stage.CONFIG, ("locale", "locale_configfile")),
    Name(
        "apt",
        Stage.CONFIG,
        (
            "apt",
            "apt_sources",
            "apt_mirror",
            "apt_mirror_search",
            "apt_mirror_search_dns",
            "apt_proxy",
            "apt_http_proxy",
            "apt_https_proxy",
            "apt_ftp_proxy",
            "apt_preserve_sources_list",
            "apt_custom_sources_list",
            "add_apt_repo_match",
        ),
    ),
    Name("yum_repos", Stage.CONFIG, ("yum_repos", "yum_repo_dir")),
    Name("zypper", Stage.CONFIG, ("zypper",)),
    Name("apk_repos", Stage.CONFIG, ("apk_repos",)),
    Name("ntp", Stage.CONFIG, ("ntp",)),
    Name("timezone", Stage.CONFIG, ("timezone",)),
    Name(
        "packages",
        Stage.FINAL,
        (
            "package_update",
            "package_upgrade",
            "packages",
            "package_reboot_if_required",
            "apt_update",
            "apt_upgrade",
            "apt_reboot_if_required",
        ),
    ),
    Name("write_files_deferred", Stage.FINAL, ("write_files",)),
    Name("scripts", Stage.FINAL, always=True, again=True),
    Name("runcmd", Stage.FINAL, ("runcmd",), again=True),
    Name("scripts_late", Stage.FINAL, always=True, again=True),
    Name(
        "console_keys",
        Stage.FINAL,
        (
            "no_ssh_fingerprints",
            "authkey_hash",
            "ssh_key_console_blacklist",
            "ssh_fp_console_blacklist",
            "ssh",
        ),
        always=True,
    ),
    Name("post_password", Stage.FINAL, ("post_password",)),
    Name("phone_home", Stage.FINAL, ("phone_home",)),
    Name("final_message", Stage.FINAL, ("final_message",), always=True, again=True),
    Name("power_state", Stage.FINAL, ("power_state",), again=True),
)

MODULE_LISTS = {
    Stage.NETWORK: "cloud_init_modules",
    Stage.CONFIG: "cloud_config_modules",
    Stage.FINAL: "cloud_final_modules",
}
"""Keys of the lists of modules to run, see `agent.module_lists`."""

NOT_MODULES = frozenset(
    {
        *MODULE_LISTS.values(),
        "allow_userdata",
        "datasource",
        "datasource_list",
        "disable_fallback_netcfg",
        "launch-index",
        "manual_cache_clean",
        "merge_how",
        "merge_type",
        "network",
        "output",
        "reporting",
        "updates",
        "vendor_data",
        "vendor_data2",
    }
)
"""Top-level keys that are right in a cloud-config and belong to no module."""

NICHE = frozenset(
    {
        "ansible",
        "apt_pipelining",
        "autoinstall",
        "byobu_by_default",
        "chef",
        "disable_ec2_metadata",
        "drivers",
        "fan",
        "grub_dpkg",
        "landscape",
        "lxd",
        "mcollective",
        "puppet",
        "rh_subscription",
        "rpi",
        "salt_minion",
        "snap",
        "spacewalk",
        "ubuntu_advantage",
        "ubuntu_pro",
        "wireguard",
    }
)
"""Sections cloud-init has and Linklocal leaves alone: each deserves one clear warning."""


def load_module(name: str) -> Module:
    """Import the module of that NAMES row."""
    from importlib import import_module

    module: Module = import_module(f".{name}", __name__).MODULE
    return module
