"""`"tls": "internal"`, as compiled: which certificates are made, by which root, for which names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import Problem
from npserver.runtime.compilation import MAY_WRITE, Compilation
from npserver.tls.certificates import ServerTls
from npserver.tls.compile import server_context
from npserver.tls.config import Tls
from npserver.tls.local_authority import LOCAL_ROOT
from npserver.tls.renewal import LocalRenewal
from tests.stage.worker import make_context


class Made:
    """A `tls` section, compiled with a store in `directory`."""

    def __init__(self, directory: Path, tls: Any, *hosts: str, may_write: bool = True) -> None:
        document = load_text(json.dumps({"store": "store"}), str(directory / "c.json"))
        self.compilation = Compilation(document, make_context())
        MAY_WRITE.put(self.compilation.context, value=may_write)
        self.tls: ServerTls | None = server_context(self.compilation, ("tls",), tls, hosts, speaks_http=True)

    @property
    def problems(self) -> list[Problem]:
        return self.compilation.report.problems

    def names(self, server_name: str) -> tuple[str, ...]:
        assert self.tls is not None, self.problems
        return self.tls.present(server_name).certificate.names


def test_the_hosts_of_the_rules_are_the_names(tmp_path: Path) -> None:
    made = Made(tmp_path, "internal", "nas.home", "*.nas.home")
    assert made.names("nas.home") == made.names("x.nas.home") == ("nas.home", "*.nas.home")
    assert made.problems == []
    assert [type(one) for one in made.compilation.services] == [LocalRenewal]


def test_rules_for_any_host_are_for_this_machine(tmp_path: Path) -> None:
    for hosts in ((), ("",), ("nas.home", "")):
        made = Made(tmp_path, "internal", *hosts)
        assert {"localhost", "127.0.0.1"} <= set(made.names(""))
        assert ("nas.home" in made.names("")) == ("nas.home" in hosts)


def test_names_of_the_public_have_a_certificate_of_another_root(tmp_path: Path) -> None:
    made = Made(tmp_path, "internal", "nas.home", "www.example.com")
    assert made.names("nas.home") == ("nas.home",)
    assert made.names("www.example.com") == ("www.example.com",)
    assert sorted(path.name for path in (tmp_path / "store/authority").glob("*.pem")) == [
        "all-names.pem", "local-names.pem",
    ]  # fmt: skip


def test_many_names_have_several_certificates(tmp_path: Path) -> None:
    hosts = [f"h{number}.home" for number in range(120)]
    made = Made(tmp_path, "internal", *hosts, "example.com", "")
    assert made.problems == []
    assert made.names("h5.home")[:100] == tuple(hosts[:100])
    assert "localhost" in made.names("h5.home")
    assert made.names("h110.home") == tuple(hosts[100:])
    assert made.names("example.com") == ("example.com",)
    machine = Made(tmp_path, "internal", "example.com", "")
    assert machine.names("example.com") == ("example.com",)
    assert "localhost" in machine.names("")


def test_given_names_replace_the_hosts(tmp_path: Path) -> None:
    made = Made(tmp_path, Tls(internal=True, names=["Straße.home", "10.0.0.1", "fd00:0::1"]), "nas.home")
    assert made.names("xn--strae-oqa.home") == ("xn--strae-oqa.home", "10.0.0.1")
    assert made.problems == []


def test_beside_other_certificates_it_has_the_rest(tmp_path: Path, certificates: Callable[..., Any]) -> None:
    """A client that asks for an IP address sends no name: it gets the certificate that has addresses."""
    one = certificates("one.home")
    entries = [Tls(cert=str(one.cert), key=str(one.key)), Tls(internal=True)]
    made = Made(tmp_path, entries, "one.home", "two.home")
    assert made.names("two.home") == ("two.home",)
    assert made.names("one.home") == made.names("") == made.names("other.home") == ("one.home",)
    assert Made(tmp_path, entries, "one.home", "10.0.0.1").names("") == ("10.0.0.1",)
    unused = Made(tmp_path, entries, "one.home")
    assert unused.names("") == ("one.home",)
    assert [one.message for one in unused.problems] == [
        "'internal' has no effect: other certificates have the hosts of all rules"
    ]


def test_what_a_wildcard_has_is_not_taken_from_it(tmp_path: Path, certificates: Callable[..., Any]) -> None:
    one = certificates("*.example.com")
    entries = [Tls(internal=True), Tls(cert=str(one.cert), key=str(one.key))]
    made = Made(tmp_path, entries, "www.example.com", "example.com", "a.b.example.com")
    assert made.names("www.example.com") == ("*.example.com",)
    assert made.names("example.com") == made.names("a.b.example.com") == ("example.com", "a.b.example.com")


def test_a_check_writes_nothing_and_knows_all_the_same(tmp_path: Path) -> None:
    made = Made(tmp_path, "internal", "nas.home", may_write=False)
    assert made.names("") == ("nas.home",)
    assert list(tmp_path.iterdir()) == []
    Made(tmp_path, "internal", "nas.home")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    assert Made(tmp_path, "internal", "nas.home", "a.home", may_write=False).problems == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before
    (tmp_path / "store" / LOCAL_ROOT).write_text("garbage")
    (fault,) = Made(tmp_path, "internal", "a.home", may_write=False).problems
    assert "is damaged" in fault.message


def test_a_second_start_uses_what_the_first_made(tmp_path: Path) -> None:
    Made(tmp_path, "internal", "nas.home")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    assert len(before) == 2
    Made(tmp_path, "internal", "nas.home")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Tls(), '\'tls\' needs "cert" and "key", or "internal": true'),
        (Tls(cert="x"), "'tls' needs \"key\""),
        (Tls(key="x"), "'tls' needs \"cert\""),
        (Tls(internal=True, cert="x"), "'cert' has no effect with 'internal': leave one of them out"),
        (
            Tls(internal=True, key_passphrase="x"),
            "'key_passphrase' has no effect with 'internal': leave one of them out",
        ),
        (Tls(internal=True, internal_life=5), "'internal_life': expected 10 s or more"),
        (Tls(internal=True, names=["a b.home"]), "'a b.home' is neither a host name nor an IP address"),
    ],
)
def test_wrong_entries(tmp_path: Path, entry: Tls, message: str) -> None:
    made = Made(tmp_path, entry)
    assert made.tls is None
    assert message in [one.message for one in made.problems]


def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    made = Made(tmp_path, "internal", "nas.home")
    assert made.tls is None
    assert ["is not a directory" in one.message for one in made.problems] == [True]


def test_keys_are_not_readable_by_others(tmp_path: Path) -> None:
    Made(tmp_path, "internal", "nas.home")
    modes = {os.stat(path).st_mode & 0o077 for path in (tmp_path / "store").rglob("*")}
    assert modes == {0}
