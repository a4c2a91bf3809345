"""What the schema's structs say about each key."""

from __future__ import annotations

from npserver.config.schema import Config
from npserver.config.shape import Table, key_references, part_keys


def test_keys_that_name_entries_of_another_section_are_marked() -> None:
    assert key_references(Config) == {
        "listen": {"listener"},
        "networks": {"accept_proxy", "allow", "allow_transfer", "deny", "from", "trusted_proxies"},
        "tls": {"listen"},
        "upstreams": {"forward_to", "proxy_pass"},
    }


def test_records_are_not_looked_into() -> None:
    opaque = {name for name, key in part_keys(Config).items() if isinstance(key.shape, Table) and key.shape.opaque}
    assert opaque == {"dns"}
