"""Which server names can have a certificate on demand at all."""

from __future__ import annotations

import pytest

from npserver.store.files import StoreFiles
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.on_demand.config import OnDemand
from npserver.tls.acme.on_demand.entry import MAX_NAME, Entry
from npserver.tls.acme.on_demand.permission import parse_application


def entry(*, is_public: bool) -> Entry:
    application = parse_application("http://127.0.0.1:1")
    return Entry(
        "tls.acme.on_demand",
        OnDemand(),
        application,
        (),
        lambda name: (),
        lambda name: Places(),
        StoreFiles("/none"),
        is_public=is_public,
    )


@pytest.mark.parametrize(
    "name", ["example.com", "a.b.example.com", "xn--bcher-kva.example", "4.example.com", "a-b.xn--p1ai", "1.2.3.4x"]
)
def test_names_of_hosts(name: str) -> None:
    assert entry(is_public=True).is_possible(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "com", "localhost", "1.2.3.4", "1.2.3.256", "::1", "a..b", ".example.com", "example.com.",
        "a_b.example.com",
        "-a.example.com", "a-.example.com", "*.example.com", "a/b.example.com", "../../etc/x.com", "EXAMPLE.com",
        "a" * 64 + ".com", "a." * 94 + "com", "bücher.example", "a b.com", "a.com\n", "a.com\0",
    ],
)  # fmt: skip
def test_what_is_none(name: str) -> None:
    assert not entry(is_public=False).is_possible(name)


def test_the_longest_name_fits_into_a_key_of_the_store() -> None:
    from npserver.store.keys import split_key

    name = "a." * ((MAX_NAME - 3) // 2) + "com"
    wanted = entry(is_public=True).wanted(name)
    assert entry(is_public=True).is_possible(name)
    assert [split_key(key)[-1] for key in (wanted.certificate_key, wanted.state_key)] == [f"{name}.pem", f"{name}.json"]


def test_local_names_are_for_ones_own_ca() -> None:
    assert not entry(is_public=True).is_possible("nas.home")
    assert entry(is_public=False).is_possible("nas.home")
