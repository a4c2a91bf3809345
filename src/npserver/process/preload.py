"""Imports every module that a process may need later, before it gives up its privileges.

Usually a module is imported where it is first used, for a fast start. A process that runs as another user (`user` in
the config) may be unable to read the program's directory: a clone in /root, or in a private home. Called by the master
before it forks such children, and by a single process before it changes its user.
"""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterable
from importlib import import_module

import npserver
from npserver.config import extensions
from npserver.dns.zone.public_suffix import registered_labels
from npserver.runtime.front import Service

#: Modules of other packages that functions of npserver and of the standard library import when they run. Some exist
#: only in certain versions of Python, or are optional.
EXTERNAL = (
    "_multiprocessing", "asyncio.staggered", "backports.zstd", "brotli", "compression.zstd",
    "concurrent.futures.thread", "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.serialization", "cryptography.x509.oid", "ctypes", "difflib", "dns.message",
    "dns.rcode", "dns.zone",
    "email.utils", "encodings.ascii", "encodings.idna", "encodings.latin_1", "idna.uts46data", "isal.igzip_lib",
    "isal.isal_zlib", "json", "maxminddb", "msgspec._utils", "tempfile", "traceback", "urllib.parse", "uvloop", "zlib",
)  # fmt: skip

#: The command line, with `npserver.__main__`, and what one of its commands alone uses; tests of users.
_NOT_SERVING = ("npserver.cli", "npserver.importing", "npserver.testing")
#: Takes 280 ms and 20 MB: imported where the config orders certificates, see `tls.acme.service`.
ORDERING = frozenset(
    f"npserver.tls.acme.{name}"
    for name in (
        "answering.alpn_certificate",
        "answering.solver",
        "client.account",
        "client.acme_client",
        "client.authorization",
        "client.certificate",
        "client.transport",
        "manager",
        "on_demand.keeper",
    )
)


def import_all(services: Iterable[Service] = ()) -> None:
    """Import all modules of npserver but the command line's and `ORDERING`, what they need, and all extensions.

    `services`: of the config; the modules that these import when they run are imported as well.
    """
    for module in pkgutil.walk_packages(npserver.__path__, "npserver.", onerror=lambda name: None):
        if not module.name.startswith(_NOT_SERVING) and module.name not in {"npserver.__main__", *ORDERING}:
            _import(module.name)
    for name in (*EXTERNAL, *(name for one in services for name in getattr(one, "imports", ()))):
        _import(name)
    registered_labels([b"co", b"uk"])  # reads the list of public suffixes from its package
    extensions.faults()  # imports them; faults are reported for those that the config uses


def _import(name: str) -> None:
    with contextlib.suppress(ImportError):  # an optional package is not installed: reported where it is needed
        import_module(name)
