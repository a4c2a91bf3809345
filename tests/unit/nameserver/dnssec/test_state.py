"""What the store keeps of signed zones."""

from __future__ import annotations

import pytest

from npserver.dns.message.dnssec import DELETE_CDS, ds_data
from npserver.dns.message.name import parse_owner
from npserver.nameserver.dnssec.state import decode, encode, first_state, store_key, zone_keys
from npserver.store.keys import split_key

APEX = parse_owner("example.com")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("example.com", "dnssec/example.com.zone"),
        (".", "dnssec/root.zone"),
        ("0/25.2.0.192.in-addr.arpa", "dnssec/0=25.2.0.192.in-addr.arpa.zone"),
    ],
)
def test_keys_in_the_store(name: str, key: str) -> None:
    assert store_key(parse_owner(name)) == key
    split_key(key)


def test_the_key_of_a_long_name_is_short() -> None:
    long = [parse_owner(".".join([label * 60] * 4)) for label in "ab"]
    keys = [store_key(one) for one in long]
    assert len(set(keys)) == 2
    for one in keys:
        split_key(one)


@pytest.mark.parametrize(("kind", "count", "signing"), [("csk", 1, 0), ("ksk-zsk", 2, 1)])
def test_the_first_keys_sign_at_once_and_ask_for_nothing(kind: str, count: int, signing: int) -> None:
    state = first_state(kind, 13, 1000.0)
    assert decode(encode(state)) == state
    keys = zone_keys(APEX, state)
    assert len(keys.dnskeys) == count
    assert [one.tag for one in keys.of_zone] == [state.keys[signing].load()[1].tag]
    assert [one.tag for one in keys.of_keys] == [state.keys[0].load()[1].tag]
    assert keys.ds == keys.cds == keys.cdnskeys == ()


def test_a_key_that_is_ready_is_asked_for() -> None:
    state = first_state("csk", 13, 1000.0)
    state = state.with_changed(state.keys[0], ds_asked_at=2000.0)
    keys = zone_keys(APEX, state)
    assert keys.ds == keys.cds == (ds_data(APEX, keys.dnskeys[0]),)
    assert keys.cdnskeys == keys.dnskeys
    leaving = zone_keys(APEX, state, withdraw=True)
    assert (leaving.ds, leaving.cds) == ((), (DELETE_CDS,))


def test_no_key_is_shown() -> None:
    state = first_state("ksk-zsk", 13, 1000.0)
    assert "PRIVATE" not in repr(state) + repr(state.keys)


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"keys":[]}', encode(first_state("csk", 13, 1.0)).replace(b"MI", b"__")]
)
def test_what_is_damaged_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|missing"):
        decode(value)
