"""Runs a command under what a systemd unit allows, without systemd.

    python -m tests.stage.sandbox UNIT [-join PID] [-bind PATH]... COMMAND

As root that may mount. Emulated are: the user and its capabilities, NoNewPrivileges, UMask, LimitNOFILE; directories,
and who may write where (ProtectSystem, ProtectHome, PrivateTmp, PrivateDevices, ProtectProc, ProcSubset); system calls
(SystemCallFilter, RestrictAddressFamilies, MemoryDenyWriteExecute, RestrictNamespaces). Not emulated: what systemd does
by control groups and BPF, RestrictSUIDSGID, ProtectHostname. The user is nobody, whatever the unit says; each PATH is
readable at its place. `-join` is for ExecReload: the directories are those of the main process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

NOBODY = 65534
#: Where systemd makes the directories that a unit names, and the variable that tells the process.
PLACES = {
    "StateDirectory": ("/var/lib", "STATE_DIRECTORY"),
    "CacheDirectory": ("/var/cache", "CACHE_DIRECTORY"),
    "LogsDirectory": ("/var/log", "LOGS_DIRECTORY"),
    "RuntimeDirectory": ("/run", "RUNTIME_DIRECTORY"),
}
_MOUNTS = 0x00020000  # CLONE_NEWNS
_ALLOW, _EPERM, _ENOSYS, _EAFNOSUPPORT = 0x7FFF0000, 0x00050001, 0x00050026, 0x00050061  # of seccomp_init(3)
_EQUAL, _MASKED_EQUAL = 4, 7
_WRITE, _EXECUTE = 2, 4  # PROT_WRITE, PROT_EXEC
_NEW_NAMESPACES = (0x20000000, 0x40000000, 0x10000000, 0x08000000, 0x04000000, 0x02000000, _MOUNTS)
_CAPABILITIES = {"CAP_NET_BIND_SERVICE": 10}

_libc = ctypes.CDLL(None, use_errno=True)


def may_mount() -> bool:
    """Return whether root may make a mount namespace, and mounts in it."""
    trial = "mount -t tmpfs tmpfs /mnt && mount -t proc -o subset=pid proc /proc"
    return subprocess.run(["unshare", "-m", "sh", "-c", trial], capture_output=True, check=False).returncode == 0


def read_unit(path: Path) -> dict[str, list[str]]:
    """Return the values of each key of `[Service]`."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().partition("[Service]")[2].partition("\n[")[0].splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def main(unit_file: str, *words: str) -> None:
    """Become what the unit says, and run the command."""
    command, bound, joined = list(words), [], ""
    while command[0] in ("-bind", "-join"):
        if command[0] == "-bind":
            bound.append(command[1])
        else:
            joined = command[1]
        del command[:2]
    unit = read_unit(Path(unit_file))
    filters = _filters(unit)
    if joined:
        with open(f"/proc/{joined}/ns/mnt", "rb") as namespace:
            _call("setns", namespace.fileno(), _MOUNTS)
    else:
        _call("unshare", _MOUNTS)
        _run("mount", "--make-rprivate", "/")
        _mount(unit, bound)
    for name, (place, variable) in PLACES.items():
        os.environ[variable] = f"{place}/{unit[name][0]}"
    files = int(unit["LimitNOFILE"][0])
    if 0 <= (most := resource.getrlimit(resource.RLIMIT_NOFILE)[1]) < files:
        files = most  # containers whose root may not raise it
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.umask(int(unit["UMask"][0], 8))
    _become_nobody([_CAPABILITIES[name] for name in unit["AmbientCapabilities"]])
    for load in filters:
        load()
    os.execvp(command[0], command)


# ── files ──


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _mount(unit: dict[str, list[str]], bound: Iterable[str]) -> None:
    keep = "/mnt"  # what is visible later stays here while other file systems are mounted over it
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", keep)
    for number, path in enumerate(bound):
        os.mkdir(f"{keep}/{number}")
        _run("mount", "--bind", path, f"{keep}/{number}")
    writable = []
    for name, (place, _) in PLACES.items():
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
        writable.append(own := f"{place}/{unit[name][0]}")
        os.mkdir(own)
        _run("mount", "-t", "tmpfs", "tmpfs", own)
        os.chmod(own, int(unit.get(f"{name}Mode", ["0755"])[0], 8))
        os.chown(own, NOBODY, NOBODY)
    if unit["ProtectHome"] == ["yes"]:
        for path in ("/home", "/root"):
            _run("mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", path)
    if unit["PrivateTmp"] == ["yes"]:
        for path in ("/tmp", "/var/tmp"):
            _run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", path)
    for number, path in enumerate(bound):
        os.makedirs(path, exist_ok=True)
        _run("mount", "--move", f"{keep}/{number}", path)
    if unit["PrivateDevices"] == ["yes"]:
        _mount_devices(f"{keep}/dev")
    if unit["ProtectProc"] == ["invisible"] and unit["ProcSubset"] == ["pid"]:
        _run("mount", "-t", "proc", "-o", "hidepid=invisible,subset=pid", "proc", "/proc")
    if unit["ProtectSystem"] == ["strict"]:
        _make_read_only(except_below=["/dev", "/proc", "/tmp", "/var/tmp", *writable])


def _mount_devices(place: str) -> None:
    os.mkdir(place)
    _run("mount", "-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", place)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        Path(place, name).touch()
        _run("mount", "--bind", f"/dev/{name}", f"{place}/{name}")
    os.mkdir(f"{place}/shm")
    _run("mount", "--bind", "/dev/shm", f"{place}/shm")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"{place}/{name}")
    _run("mount", "--move", place, "/dev")


def _make_read_only(except_below: list[str]) -> None:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in dict.fromkeys(points):
        is_left = any(f"{point}/".startswith(f"{one}/") for one in except_below)
        if not is_left and os.path.exists(point):  # another may be mounted over it
            _run("mount", "-o", "remount,bind,ro", point)


# ── user and capabilities ──


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), f"{name}{arguments}")


def _become_nobody(capabilities: list[int]) -> None:
    """Change the user for good; of all capabilities only these are left, also after an exec."""
    last = int(_LAST_CAPABILITY)
    for number in range(last + 1):
        if number not in capabilities:
            _call("prctl", 24, number, 0, 0, 0)  # PR_CAPBSET_DROP
    _call("prctl", 8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    mask = sum(1 << number for number in capabilities)
    _call("capset", struct.pack("Ii", 0x20080522, 0), struct.pack("6I", mask, mask, mask, 0, 0, 0))
    for number in capabilities:
        _call("prctl", 47, 2, number, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE
    _call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap").read_text()


# ── system calls ──


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


class _Filter:
    """A filter of libseccomp."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(default)))

    def add(self, action: int, name: str, *comparisons: tuple[int, int, int, int]) -> None:
        """Add a rule for calls of this name whose arguments compare so; names of other machines are left out."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        array = (_Comparison * len(comparisons))(*(_Comparison(*one) for one in comparisons))
        if number >= 0:
            done = self._library.seccomp_rule_add_array(
                self._context, ctypes.c_uint32(action), number, len(comparisons), array
            )
            if done < 0:
                raise OSError(-done, f"seccomp_rule_add_array {name}")

    def load(self) -> None:
        """Put it in force."""
        if (done := self._library.seccomp_load(self._context)) < 0:
            raise OSError(-done, "seccomp_load")


def _filters(unit: dict[str, list[str]]) -> list[Callable[[], None]]:
    """Return what puts the filters of the unit in force, one by one."""
    allowed = _sets("@default")
    for value in unit["SystemCallFilter"]:
        names = _sets(*value.removeprefix("~").split())
        allowed = allowed - names if value.startswith("~") else allowed | names
    of_names = _Filter(_EPERM)
    for name in allowed:
        of_names.add(_ALLOW, name)
    of_values = _Filter(_ALLOW)
    if unit["MemoryDenyWriteExecute"] == ["yes"]:
        of_values.add(_EPERM, "mmap", (2, _MASKED_EQUAL, _WRITE | _EXECUTE, _WRITE | _EXECUTE))
        of_values.add(_EPERM, "mprotect", (2, _MASKED_EQUAL, _EXECUTE, _EXECUTE))
        of_values.add(_EPERM, "pkey_mprotect", (2, _MASKED_EQUAL, _EXECUTE, _EXECUTE))
    if unit["RestrictNamespaces"] == ["yes"]:
        of_values.add(_ENOSYS, "clone3")
        for name, argument in (("clone", 0), ("unshare", 0), ("setns", 1)):
            for flag in _NEW_NAMESPACES:
                of_values.add(_EPERM, name, (argument, _MASKED_EQUAL, flag, flag))
    families = {int(getattr(socket, name)) for name in unit["RestrictAddressFamilies"][0].split()}
    for number in set(range(1, 46)) - families:
        of_values.add(_EAFNOSUPPORT, "socket", (0, _EQUAL, number, 0))
    return [of_values.load, of_names.load]


def _sets(*names: str) -> set[str]:
    """Return the system calls of sets such as `@system-service`, as systemd has them."""
    found: set[str] = set()
    for name in names:
        done = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
        ).stdout
        for line in done.splitlines()[1:]:
            word = line.strip()
            if word.startswith("@"):
                found |= _sets(word)
            elif word and not word.startswith("#"):
                found.add(word)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
