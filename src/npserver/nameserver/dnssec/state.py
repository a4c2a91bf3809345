"""What the store keeps of a signed zone: its keys, and how far each has come. Two programs that share it sign alike.

A key is first published, then signs. The parent's DS record names a zone's entry points, which are keys of the roles
`csk` (signs everything) and `ksk` (signs keys). Times are seconds since 1970, 0 for what has not happened yet.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from npserver.dns.message.dnssec import DELETE_CDNSKEY, DELETE_CDS, ds_data
from npserver.dns.message.name import ROOT, to_text
from npserver.dns.zone.zone_keys import SigningKey, ZoneKeys
from npserver.nameserver.dnssec.keys import load_key, make_key

PREFIX = "dnssec/"
_MAX_NAME = 150  # characters of a zone's name in the store

Role = Literal["csk", "ksk", "zsk"]


class StoredKey(Struct, frozen=True):
    """A key of a zone."""

    role: Role
    algorithm: int
    private: str  # PEM
    published_at: float = 0.0  # when the controller had all processes serve its DNSKEY record
    signs_from: float = 0.0  # the zone's records, or the keys of a first `ksk`
    ds_asked_at: float = 0.0  # when it was ready for a DS record, and CDS and CDNSKEY asked the parent for it
    ds_seen_at: float = 0.0  # when the parent had it
    ds_ttl: float = 0.0  # of the parent's DS records, as it was seen, in seconds; 0: not known

    def __repr__(self) -> str:
        return f"<StoredKey {self.role} published at {self.published_at:.0f}>"

    @property
    def is_entry_point(self) -> bool:
        """Whether the parent's DS record names it."""
        return self.role != "zsk"

    def load(self) -> tuple[bytes, SigningKey]:
        """Return the data of its DNSKEY record, and what signs with it. Raises: ValueError."""
        return load_key(self.algorithm, self.private, is_entry_point=self.is_entry_point)


class ZoneState(Struct, frozen=True):
    """The keys of a zone, the oldest first."""

    keys: tuple[StoredKey, ...]
    version: int = 1  # rises with each change

    def __repr__(self) -> str:
        return f"<ZoneState {self.version} {self.keys}>"

    def entry_points(self) -> list[StoredKey]:
        """Return the keys of the parent's DS records, the oldest first."""
        return [one for one in self.keys if one.is_entry_point]

    def signers(self) -> list[StoredKey]:
        """Return the keys that can sign the zone's records, the oldest first."""
        return [one for one in self.keys if one.role != "ksk"]

    def with_keys(self, *keys: StoredKey) -> ZoneState:
        """Return the next state, with these keys."""
        return ZoneState(keys, self.version + 1)

    def with_changed(self, before: StoredKey, **changes: float) -> ZoneState:
        """Return the next state, with one key changed."""
        return self.with_keys(*[replace(one, **changes) if one is before else one for one in self.keys])


def store_key(apex: bytes) -> str:
    """Return the key in the store of a zone's state. `apex`: in lower case."""
    name = "root" if apex == ROOT else to_text(apex)[:-1].replace("/", "=")
    if len(name) > _MAX_NAME:
        name = f"{name[:60]}+{sha256(apex).hexdigest()[:32]}"
    return f"{PREFIX}{name}.zone"


def first_state(keys: str, algorithm: int, now: float) -> ZoneState:
    """Return the state of a zone that is signed for the first time. `keys`: the word of the config.

    They sign at once: nobody has a DS record that would need others.
    """
    roles: tuple[Role, ...] = ("csk",) if keys == "csk" else ("ksk", "zsk")
    return ZoneState(tuple([replace(new_key(role, algorithm), signs_from=now) for role in roles]))


def new_key(role: Role, algorithm: int) -> StoredKey:
    """Return a new key."""
    return StoredKey(role, algorithm, make_key(algorithm))


def zone_keys(apex: bytes, state: ZoneState, *, withdraw: bool = False) -> ZoneKeys:
    """Return what a zone is signed with in a state. Raises: ValueError if a key cannot be read.

    `withdraw`: ask the parent for no DS record at all.
    """
    loaded = {one: one.load() for one in state.keys}
    asked = [one for one in state.entry_points() if one.ds_asked_at][-1:]
    signing = [one for one in state.signers() if one.signs_from][-1:]
    ds = tuple([ds_data(apex, loaded[one][0]) for one in asked])
    return ZoneKeys(
        state.version,
        tuple([dnskey for dnskey, _ in loaded.values()]),
        tuple([loaded[one][1] for one in state.entry_points()]),
        tuple([loaded[one][1] for one in signing]),
        () if withdraw else ds,
        (DELETE_CDS,) if withdraw else ds,
        (DELETE_CDNSKEY,) if withdraw else tuple([loaded[one][0] for one in asked]),
    )


def encode(state: ZoneState) -> bytes:
    """Return the value in the store."""
    return msgspec.json.encode(state)


def decode(value: bytes) -> ZoneState:
    """Return the state in a value of the store, whose keys can be read. Raises: ValueError, without a key."""
    try:
        state = msgspec.json.decode(value, type=ZoneState)
    except msgspec.MsgspecError:
        raise ValueError("the keys cannot be read") from None
    if not state.entry_points() or not any(one.signs_from for one in state.signers()):
        raise ValueError("a key is missing")
    for one in state.keys:
        one.load()
    return state
