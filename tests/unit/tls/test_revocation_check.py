"""The `client_crl` of listeners: the lists that make OpenSSL refuse clients are named where they stand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from npserver.config.document import Document
from npserver.config.jsonc import parse
from npserver.config.schema import Config
from npserver.errors import Severity
from npserver.runtime.compilation import Compilation
from npserver.runtime.context import Context
from npserver.tls.compile import server_context
from npserver.tls.config import Tls
from tests.stage.authority import ClientAuthority
from tests.stage.worker import make_context


@pytest.fixture
def directory(certificates: Callable[..., Any], tmp_path: Path) -> Path:
    """Files good and bad."""
    here = tmp_path / "tls"
    here.mkdir()
    issued = certificates("one.example")
    for file, name in ((issued.cert, "one.crt"), (issued.key, "one.key"), (issued.ca, "ca.crt")):
        shutil.copy(file, here / name)
    (here / "text.crt").write_text("hello")
    return here


@pytest.fixture
def staff(directory: Path) -> ClientAuthority:
    return ClientAuthority(directory)


def compile_lists(directory: Path, context: Context | None = None, **entry: Any) -> tuple[list[str], set[Severity]]:
    """Return the messages, and how severe they are. `context`: that of a config before, for a reload."""
    text = '{"tls": {\n"client_crl": 1}}'
    document = Document(Config(), "npserver.json", str(directory), parse(text).places)
    found = Compilation(document, context or make_context())
    keys = {"cert": "one.crt", "key": "one.key", "client_ca": "Staff-CA.ca", "client_crl": "Staff-CA.crl", **entry}
    server_context(found, ("tls",), Tls(**keys))
    problems = found.report.problems
    return [f"{one.line}: {one.message}" for one in problems], {one.severity for one in problems}


def test_a_reload_names_the_list_that_was_changed_into_something_unusable(
    directory: Path, staff: ClientAuthority
) -> None:
    staff.revoke()
    context = make_context()
    assert compile_lists(directory, context) == ([], set())
    (directory / "Staff-CA.crl").write_text("hello, this is no list")
    (message,), severities = compile_lists(directory, context)
    assert message.startswith(
        "2: 'Staff-CA.crl' changed and cannot be used, what was loaded before stays: no PEM revoc"
    )
    assert severities == {Severity.CHECK_ERROR}


def test_a_list_in_use_is_no_problem(directory: Path, staff: ClientAuthority) -> None:
    staff.revoke()
    assert compile_lists(directory) == ([], set())
    assert compile_lists(directory, client_crl=["Staff-CA.crl", "Staff-CA.crl"]) == ([], set())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"client_crl": "none.crl"}, "2: cannot read 'none.crl': no such file or directory"),
        ({"client_crl": ["none.crl"]}, "2: cannot read 'none.crl': no such file or directory"),
        ({"client_ca": None},
         "2: 'client_crl' requires 'client_ca': without it no client certificate is asked for"),
        ({"client_crl": "text.crt"},
         "2: 'text.crt' cannot be used: no PEM revocation list (-----BEGIN X509 CRL-----) in it"),
        ({"client_crl": ["Staff-CA.crl", "ca.crt"]},
         "2: 'ca.crt' cannot be used: there is a certificate in it, which belongs to client_ca"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_named(directory: Path, staff: ClientAuthority, entry: Any, message: str) -> None:
    staff.revoke()
    assert compile_lists(directory, **entry) == ([message], {Severity.ERROR})


def test_a_file_that_is_too_large_is_named(directory: Path, staff: ClientAuthority) -> None:
    (directory / "Staff-CA.crl").write_bytes(staff.revocation_list() + b" " * (4 << 20))
    assert compile_lists(directory)[0] == ["2: cannot read 'Staff-CA.crl': larger than 4194304 bytes"]


@pytest.mark.parametrize(
    ("issued", "until", "message", "severity"),
    [
        (-3, -1, "'Staff-CA.crl' expired on {until} UTC: {refused}; fetch its successor", Severity.CHECK_ERROR),
        (1, 3, "'Staff-CA.crl' is not valid before {issued} UTC: {refused}", Severity.CHECK_ERROR),
        (-9, 1, "'Staff-CA.crl' expires on {until} UTC: from then on {refused}", Severity.WARNING),
    ],
)
def test_a_list_out_of_date_is_named(
    directory: Path, staff: ClientAuthority, issued: int, until: int, message: str, severity: Severity
) -> None:
    """A server that ran yesterday starts today; a check says that a new list must be fetched."""
    now = datetime.now(UTC)
    dates = {"issued": now + timedelta(days=issued), "until": now + timedelta(days=until)}
    staff.revoke(**dates)
    texts = {name: f"{date:%Y-%m-%d %H:%M}" for name, date in dates.items()}
    (found,), severities = compile_lists(directory)
    assert severities == {severity}
    assert re.sub(r"'O=Staff CA.*?(?= are)", "X", found) == f"2: {message}".format(
        **texts, refused="all clients of X are refused"
    )


def test_lists_of_other_authorities_are_named(directory: Path, staff: ClientAuthority) -> None:
    partners = ClientAuthority(directory, "Partner CA")
    staff.revoke()
    partners.revoke()
    (found,), severities = compile_lists(directory, client_crl="Partner-CA.crl")
    assert found.startswith("2: 'Partner-CA.crl' is a list by 'O=Partner CA,")
    assert found.endswith(
        "which is not an authority in 'client_ca': it only counts for clients that send this authority's "
        "certificate along"
    )
    assert severities == {Severity.WARNING}


def test_a_list_signed_with_another_key_is_named(directory: Path) -> None:
    """An authority that has got a new key needs a new list."""
    old, new = (trustme.CA(organization_name="Staff", organization_unit_name="HQ") for _ in range(2))
    (directory / "new.ca").write_bytes(new.cert_pem.bytes())
    (directory / "old.crl").write_bytes(ClientAuthority(directory, authority=old).revocation_list())
    (found,), severities = compile_lists(directory, client_ca="new.ca", client_crl="old.crl")
    assert "is a list by 'O=Staff,OU=HQ', signed with another key than the authority in 'client_ca'" in found
    assert severities == {Severity.WARNING}


def test_authorities_without_a_list_are_named(directory: Path, staff: ClientAuthority) -> None:
    ClientAuthority(directory, "Partner CA")
    staff.revoke()
    both = [(directory / f"{name}-CA.ca").read_text() for name in ("Staff", "Partner")]
    (directory / "both.ca").write_text("".join(both))
    (found,), severities = compile_lists(directory, client_ca="both.ca")
    assert found.startswith("2: no list by 'O=Partner CA,")
    assert found.endswith("an authority in 'client_ca': all of its clients are refused")
    assert severities == {Severity.WARNING}


def test_a_root_needs_no_list_beside_its_intermediate(directory: Path) -> None:
    root = trustme.CA(organization_name="Root")
    below = root.create_child_ca()
    (directory / "both.ca").write_bytes(root.cert_pem.bytes() + below.cert_pem.bytes())
    (directory / "below.crl").write_bytes(ClientAuthority(directory, authority=below).revocation_list())
    assert compile_lists(directory, client_ca="both.ca", client_crl="below.crl") == ([], set())
