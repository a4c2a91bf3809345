"""Shapes: the values that each key of the config takes, read from the structs' annotations."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import Meta, field

from npserver.config.schema import Config
from npserver.config.section import Section
from npserver.config.shape import (
    NULL,
    Choice,
    Either,
    Kind,
    Many,
    Scalar,
    SectionShape,
    Shape,
    Table,
    Tagged,
    describe,
    key_references,
    section_keys,
)
from npserver.config.units import Size


class Inner(Section):
    size: Size = 5


class One(Section, tag="one", tag_field="kind"):
    x: str


class Two(Section, tag="two", tag_field="kind"):
    y: str = ""


class Whole(Section):
    text: Annotated[str, Meta(description="some text")]
    number: Annotated[int, Meta(ge=1, le=9)] = 3
    names: list[str] = field(default_factory=list)
    inner: Inner = Inner()
    table: dict[str, int] = field(default_factory=dict)
    choice: Literal["a", "b"] = "a"
    several: str | list[str] | None = None
    tagged: list[One | Two] = field(default_factory=list)


KEYS = section_keys(Whole)


def test_keys_have_their_descriptions_and_defaults() -> None:
    assert (KEYS["text"].description, KEYS["text"].required) == ("some text", True)
    assert (KEYS["number"].default, KEYS["number"].required) == (3, False)
    assert KEYS["inner"].default == Inner()


@pytest.mark.parametrize(
    ("key", "shape", "description"),
    [
        ("text", Scalar(Kind.TEXT), "a string"),
        ("number", Scalar(Kind.WHOLE, 1, 9), "a whole number from 1 to 9"),
        ("names", Many(Scalar(Kind.TEXT)), "a list of strings"),
        ("inner", SectionShape(Inner), "an object"),
        ("table", Table(Scalar(Kind.WHOLE)), "an object"),
        ("choice", Choice(("a", "b")), 'one of "a", "b"'),
        ("several", Either((Scalar(Kind.TEXT), Many(Scalar(Kind.TEXT)), NULL)), "a string or a list of strings"),
        ("tagged", Many(Tagged("kind", {"one": SectionShape(One), "two": SectionShape(Two)})), "a list of objects"),
    ],
)
def test_each_annotation_has_its_shape_and_words(key: str, shape: Shape, description: str) -> None:
    assert KEYS[key].shape == shape
    assert describe(shape) == description


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((Scalar(Kind.TRUTH), Scalar(Kind.TEXT)), "true, false or a string"),
        ((Choice(("host",)), Scalar(Kind.TRUTH)), '"host", true or false'),
        ((Many(Either((Scalar(Kind.WHOLE), Scalar(Kind.TEXT)))), NULL), "a list of whole numbers or strings"),
        ((Many(Choice(("a", "b"))), NULL), 'a list of "a", "b"'),
    ],
)
def test_the_words_for_one_of_several_shapes_are_a_list(options: tuple[Shape, ...], words: str) -> None:
    assert describe(Either(options)) == words


def test_a_number_without_an_upper_bound_goes_up() -> None:
    assert describe(Scalar(Kind.WHOLE, 0)) == "a whole number from 0 up"


def test_keys_that_name_entries_of_another_section_are_marked() -> None:
    assert key_references(Config) == {
        "dns_keys": {"key"},
        "listen": {"listener"},
        "networks": {"accept_proxy", "allow", "allow_transfer", "deny", "except", "from", "trusted_proxies"},
        "rate_limits": {"rate_limit"},
        "tls": {"listen"},
        "upstreams": {"forward_to", "proxy_pass", "to"},
    }


def test_records_are_not_looked_into() -> None:
    opaque = {name for name, key in section_keys(Config).items() if isinstance(key.shape, Table) and key.shape.opaque}
    assert opaque == {"dns", "defaults"}
