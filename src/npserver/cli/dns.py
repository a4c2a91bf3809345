"""`npserver dns`: what the parent of a signed zone needs, the replacement of its keys, the cache of resolvers' answers.

The keys are in the store of a config. A running server, of this machine or another one that shares the store, notices
a change within a second; one that is started later goes on from there.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from npserver.cli.arguments import UsageError
from npserver.cli.words import Words, run_command
from npserver.errors import StoreError, clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.nameserver.dnssec.state import Role, StoredKey, ZoneState
    from npserver.store.files import StoreFiles

HELP = """\
usage: npserver dns ds ZONE [-config FILE]
       npserver dns roll ZONE [-zsk | -ds-seen] [-config FILE]
       npserver dns flush [-config FILE]

  ds      print the DS and DNSKEY records of a signed zone for its parent, as zone files have them; what its keys do
          goes to the standard error
  roll    begin to replace the key of a zone by a new one; the server takes the steps when they are due. Of a zone
          with two keys it is the one that the DS record names; its new DS record has to be given to the parent when
          the log says so

  flush   have the running server forget what the resolvers of dns_forward have answered, within half a second

  -zsk          replace the key that signs the records, which the parent does not know
  -ds-seen      the parent has the DS record of the new key: go on. The server asks the parent by itself; say it
                where it cannot
  -config FILE  the config file of the server (default: config.json)

Run it as the user of the server, or as root.
"""
DONE, FAILED = 0, 1


def main(words: list[str]) -> int:
    """Run the command. Return the exit status: 0 done, 1 failed, 2 invalid usage or config."""
    return run_command("dns", HELP, words, _run, flags=("zsk", "ds-seen"))


def _run(words: Words) -> int:
    config, rest = words.config, words.rest
    options = [f"-{name}" for name in words.options if name != "config"]
    if rest == ["flush"] and not options:
        return _flush(config)
    if len(rest) != 2 or rest[0] not in ("ds", "roll"):
        raise UsageError("expected ds or roll, and the name of a zone; or flush")
    command, zone = rest
    if options and (command == "ds" or len(options) > 1):
        raise UsageError(f"{options[-1]} does not belong here")
    try:
        apex, files = _open(config, zone)
        if command == "ds":
            return _show(files, apex)
        return _change(files, apex, options[0] if options else "")
    except LookupError as error:
        return _failed(str(error.args[0]))
    except StoreError as error:
        return _failed(str(error))


def _flush(config: str) -> int:
    """Empty the cache of the server that runs with a config."""
    from npserver.config.load import load
    from npserver.process.control.client import ask

    if load(config).config.dns_forward is None:
        return _failed(f'{config} has no "dns_forward": there is nothing to flush')
    try:
        outcome = ask(config, "flush")
    except OSError:
        return _failed(f"no running server uses the config {config}")
    if outcome.errors:
        return _failed(outcome.errors[0])
    print("flushed")
    return DONE


def _open(config: str, text: str) -> tuple[bytes, StoreFiles]:
    """Return the apex of a zone that a config signs, and the files of its store.

    Raises: ConfigError, StoreError; LookupError with a message if the config does not sign it.
    """
    from npserver.config.load import load
    from npserver.dns.message.name import parse_owner
    from npserver.nameserver.config import DnsZoneSection
    from npserver.store.compile import store_directory
    from npserver.store.files import StoreFiles

    try:
        apex = parse_owner(text).lower()
    except ValueError as error:
        raise LookupError(str(error)) from None
    document = load(config)
    signed = {one.name for one in document.config.dns_zones if isinstance(one, DnsZoneSection) and one.dnssec}
    if not any(parse_owner(one).lower() == apex for one in signed):
        known = f"it signs {', '.join(sorted(signed))}" if signed else "it signs none"
        raise LookupError(f'{clip(text)} is no zone with "dnssec" in {config}: {known}')
    return apex, StoreFiles(store_directory(document))


def _read(files: StoreFiles, apex: bytes) -> tuple[bytes, ZoneState]:
    """Return the value and the state of a zone. Raises: StoreError, LookupError."""
    from npserver.nameserver.dnssec.state import decode, store_key

    value = files.read(store_key(apex))
    if value is None:
        raise LookupError(f"no keys in {files.directory} yet: they are made at the first start of the server")
    try:
        return value, decode(value)
    except ValueError as error:
        raise LookupError(f"{files.path(store_key(apex))}: {error}: restore the file from a backup") from None


def _show(files: StoreFiles, apex: bytes) -> int:
    """Print what the parent needs."""
    from base64 import b64encode

    from npserver.dns.message.dnssec import ds_data
    from npserver.dns.message.name import to_text
    from npserver.dns.zone.signing import KEY_TTL_S

    _, state = _read(files, apex)
    name = to_text(apex)
    asked = [one for one in state.entry_points() if one.ds_asked_at][-1:] or state.entry_points()[-1:]
    for one in asked:
        dnskey = one.load()[0]
        ds = ds_data(apex, dnskey)
        tag = int.from_bytes(ds[:2], "big")
        print(f"{name} {KEY_TTL_S} IN DS {tag} {ds[2]} {ds[3]} {ds[4:].hex().upper()}")
        flags = int.from_bytes(dnskey[:2], "big")
        print(
            f"{name} {KEY_TTL_S} IN DNSKEY {flags} {dnskey[2]} {dnskey[3]} {b64encode(dnskey[4:]).decode()}", flush=True
        )
    for one in state.keys:
        print(f"key {one.load()[1].tag} ({one.role}): {_describe(state, one)}", file=sys.stderr)
    if not asked[0].ds_asked_at:
        print(
            "do not give the DS record to the parent yet: resolvers may still know answers without signatures; "
            "the log says when it is time",
            file=sys.stderr,
        )
    return DONE


def _describe(state: ZoneState, one: StoredKey) -> str:
    signers = [key for key in state.signers() if key.signs_from]
    does = []
    if one.is_entry_point:
        does.append("signs the keys")
    if signers and one is signers[-1]:
        does.append(f"signs the records since {_date(one.signs_from)}")
    if one.ds_seen_at:
        does.append(f"the parent has its DS record since {_date(one.ds_seen_at)}")
    elif one.ds_asked_at:
        does.append(f"the parent is to have its DS record since {_date(one.ds_asked_at)}")
    return ", ".join(does) or "published"


def _change(files: StoreFiles, apex: bytes, option: str) -> int:
    """Begin a roll-over, or go on with it. Raises: StoreError, LookupError."""
    from npserver.nameserver.dnssec.state import encode, store_key

    step: Callable[[ZoneState], tuple[ZoneState, str]] = _go_on if option == "-ds-seen" else _begin_of(option)
    while True:
        value, state = _read(files, apex)
        after, told = step(state)
        if files.swap(store_key(apex), value, encode(after)):
            print(told)
            return DONE


def _go_on(state: ZoneState) -> tuple[ZoneState, str]:
    from npserver.nameserver.dnssec.rollover import awaits_ds, ds_seen

    if awaits_ds(state) is None:
        raise LookupError("no DS record is waited for: `npserver dns ds` says what the keys do")
    follows = (
        "the former key goes when no resolver knows it any more" if len(state.entry_points()) > 1 else "all is set"
    )
    return ds_seen(state, time.time()), f"noted: {follows}"


def _begin_of(option: str) -> Callable[[ZoneState], tuple[ZoneState, str]]:
    from npserver.nameserver.dnssec.rollover import awaits_ds, begin, in_progress, roles

    def step(state: ZoneState) -> tuple[ZoneState, str]:
        role: Role = "zsk" if option else state.entry_points()[0].role
        if role not in roles(state):
            raise LookupError("the zone has one key (keys: csk): leave out -zsk")
        if in_progress(state, role):
            raise LookupError(f"a {role} is being replaced already: `npserver dns ds` says how far it has come")
        if role != "zsk" and not state.entry_points()[-1].ds_seen_at:
            if awaits_ds(state) is None:
                raise LookupError("the key in use is new: the log says when its DS record can be given to the parent")
            raise LookupError(
                "the parent is not known to have the DS record of the key in use: give it to the parent, and tell so "
                "by -ds-seen"
            )
        follows = "the server does the rest" if role == "zsk" else "the log says when the parent needs its DS record"
        return begin(state, role), f"a new {role} is made: {follows}"

    return step


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _failed(message: str) -> int:
    print(f"npserver dns: {message}", file=sys.stderr)
    return FAILED
