"""Names of record types and rcodes."""

from __future__ import annotations

import dns.rcode
import dns.rdatatype
import pytest

from npserver.dns.message import codes


@pytest.mark.parametrize(("name", "number"), sorted(codes.TYPES.items()))
def test_types_have_their_iana_numbers(name: str, number: int) -> None:
    assert dns.rdatatype.from_text(name) == number
    assert codes.type_name(number) == name


@pytest.mark.parametrize(("number", "name"), sorted(codes.RCODE_NAMES.items()))
def test_rcodes_have_their_iana_numbers(number: int, name: str) -> None:
    assert dns.rcode.from_text(name) == number
    assert codes.rcode_name(number) == name


def test_numbers_without_a_name_are_written_as_in_rfc_3597() -> None:
    assert codes.type_name(65280) == "TYPE65280"
    assert codes.rcode_name(23) == "RCODE23"
