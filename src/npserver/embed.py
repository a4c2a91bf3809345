"""Run npserver inside another program's event loop: `async with npserver.serve({...}) as server:`."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from npserver.config.document import Document
from npserver.config.load import load, load_text
from npserver.errors import StartError
from npserver.process.single_process import SingleProcess

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.observe.config import AccessLogSection

ConfigLike = dict[str, Any] | str | os.PathLike[str] | Document

_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class Server:
    """A running server, as `async with serve(...)` returns it."""

    def __init__(self, single: SingleProcess) -> None:
        self._single = single

    def __repr__(self) -> str:
        return f"<npserver.Server {' '.join(f'{name}={address}' for name, address in self.addresses.items())}>"

    @property
    def addresses(self) -> dict[str, Address]:
        """The address of each listener, by its name or else its URI; of a range of ports the first one.

        Port 0 is replaced by the port chosen for it.
        """
        bindings = [one for one in self._single.bindings.current.values() if not one.listener.port_of]
        return {one.listener.name: one.addresses[0] for one in bindings if one.listener.is_shown}

    def url(self, name: str | None = None) -> str:
        """Return the URL of listener `name`, or of the first listener. A wildcard host becomes the loopback address.

        Raises: KeyError if there is no such listener.
        """
        addresses = self.addresses
        address = addresses[next(iter(addresses)) if name is None else name]
        if address.is_unix:
            return str(address)
        host = _WILDCARDS.get(address.host, address.host)
        return f"{address.scheme}://{f'[{host}]' if ':' in host else host}:{address.port}"

    async def reload(self, config: ConfigLike) -> None:
        """Switch to another config, keeping connections.

        Raises: ConfigError, StartError: the old one stays in use. StartError "reload incomplete: ...": the new one is,
        but a part of it could not be started.
        """
        document = _document(config, access_log=self._single.document.config.logging.access_log)
        outcome = await self._single.reload(document)
        if outcome.errors:
            raise StartError("; ".join((outcome.summary, *outcome.errors)))


class serve:  # noqa: N801 - reads as a verb: `async with serve(config) as server`
    """Serve `config` until the `async with` block ends: a dict as in a config file, its path, or a loaded `Document`.

    Relative paths in a dict are resolved against the working directory. `access_log` is `stdout`, `stderr`, a file or
    `off`. At the end, open connections have `shutdown_s` seconds to finish (default: `timeouts.shutdown`).

    Raises: ConfigError, StartError, when the block is entered.
    """

    def __init__(self, config: ConfigLike, *, access_log: str = "off", shutdown_s: float | None = None) -> None:
        self._config = config
        self._access_log = access_log
        self._shutdown_s = shutdown_s
        self._single: SingleProcess | None = None

    async def __aenter__(self) -> Server:
        single = SingleProcess(_document(self._config, access_log=self._access_log))
        await single.start()
        self._single = single
        return Server(single)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._single is not None
        await self._single.stop(self._shutdown_s)


def load_config(config: ConfigLike) -> Document:
    """Load a dict as in a config file, or the file of that path. Raises: ConfigError."""
    if isinstance(config, dict):
        return load_text(json.dumps(config, indent=1), "config", has_file=False)
    return config if isinstance(config, Document) else load(os.fspath(config))


def _document(config: ConfigLike, *, access_log: str | list[str | AccessLogSection]) -> Document:
    document = load_config(config)
    logging = msgspec.structs.replace(document.config.logging, access_log=access_log)
    return msgspec.structs.replace(document, config=msgspec.structs.replace(document.config, logging=logging))
