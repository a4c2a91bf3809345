"""Operating system limits and identity of this process: open files, usable CPUs, user and group."""

from __future__ import annotations

import math
import os
import resource
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.config.identity import check_identity, find_group, find_user
from npserver.config.report import Report
from npserver.errors import ConfigError, Problem, StartError, clip
from npserver.listen.compile import entries, names_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.config.document import Document
    from npserver.listen.listener import Listener


_OWN_GROUP, _GROUPS = "/proc/self/cgroup", "/sys/fs/cgroup"
_OTHER_FILES = 256  # that a process has open besides its listening sockets


def raise_descriptor_limit() -> None:
    """Raise the limit of open file descriptors as far as possible without privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS refuses "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft if soft > 10_240 else min(10_240, hard), hard))


def usable_cpus() -> int:
    """Return the number of CPUs this process may use, by its affinity and the quotas of its control group (cgroup v2).

    A quota is that of a container, or `CPUQuota=` of a systemd unit or slice. A part of a CPU counts as one.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min([count, *_quotas()]), 1)


def _quotas() -> list[int]:
    """Return the CPUs that the control group of this process, and each above it, allows; groups without a quota not."""
    try:
        with open(_OWN_GROUP, encoding="utf-8", errors="surrogateescape") as file:
            own = next((line.rstrip("\n")[3:] for line in file if line.startswith("0::")), "/")
    except OSError:
        own = "/"
    parts = [part for part in own.split("/") if part]
    quotas = []
    for depth in range(len(parts) + 1):
        try:
            with open("/".join([_GROUPS, *parts[:depth], "cpu.max"]), encoding="ascii") as file:
                quota, period = file.read().split()
            if quota != "max":
                quotas.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):
            pass  # the topmost group of the system has none
    return quotas


def check_descriptors(document: Document, listeners: Sequence[Listener]) -> None:
    """Check that a process may have the sockets of all ports open. Raises: ConfigError, at the largest range."""
    ranges = [listener for listener in listeners if listener.ports is not None]
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not ranges or hard == resource.RLIM_INFINITY:
        return
    workers = document.config.workers
    count = max(usable_cpus() if workers is None else workers, 1)
    if len(listeners) * count + _OTHER_FILES <= hard:
        return
    largest = max(ranges, key=lambda listener: listener.ports.count if listener.ports else 0)
    ports = sum(listener.ports == largest.ports for listener in ranges)
    index = next(
        path[1] for _, entry, path in entries(document.config) if largest.name in names_of(document.config, entry, path)
    )
    line, column = document.position(("listen", index))
    message = (
        f"{clip(largest.name)} takes {ports} sockets for each of {count} workers, which the master has open together, "
        f"and a process may have {hard} files open: raise the limit (LimitNOFILE of systemd), or have fewer workers or "
        "ports"
    )
    raise ConfigError([Problem(message, document.origin(("listen", index)), line, column)])


class Identity(Struct, frozen=True):
    """The user and group to run as."""

    user: int
    group: int
    name: str  # user name, for the supplementary groups; "" when only the group changes

    def assume(self) -> None:
        """Change to this user and group permanently. The user is set last, as it takes the right to change the rest."""
        if os.geteuid() == 0:
            if self.name:
                os.initgroups(self.name, self.group)
            else:
                os.setgroups([self.group])
        os.setgid(self.group)
        os.setuid(self.user)


def find_identity(document: Document) -> Identity | None:
    """Return the identity that the config's `user` and `group` name; None when it names neither.

    Raises: ConfigError for an unknown name, StartError for another user unless npserver was started as root.
    """
    config = document.config
    if config.user is None and config.group is None:
        return None
    report = Report(document)
    check_identity(report)
    report.raise_errors()
    user, group, name = os.geteuid(), os.getegid(), ""
    if config.user is not None:
        entry = find_user(config.user)
        user, group, name = entry.pw_uid, entry.pw_gid, entry.pw_name
    if config.group is not None:
        group = find_group(config.group)
    if os.geteuid() != 0 and (user, group) != (os.geteuid(), os.getegid()):
        key = "user" if config.user is not None else "group"
        raise StartError(f'{document.place((key,))}: "{key}" requires root: start npserver as root, or remove the key')
    return Identity(user, group, name)
