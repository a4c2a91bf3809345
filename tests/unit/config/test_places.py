"""Places of a config that several files make up: each path leads to the file that has it, and to its place there."""

from __future__ import annotations

from npserver.config.jsonc import Path, parse
from npserver.config.places import MergedPlaces

MAIN, ONE, TWO = '{"a": [1],\n"o": {"x": 1}}', '{\n"a": [2, {"k": 3}], "b": {"y": [5]}}', '{"o": {\n"z": 1}, "a": [7]}'


def merged() -> MergedPlaces:
    places = MergedPlaces("main", parse(MAIN).places)
    one, two = places.add_file("one", parse(ONE).places), places.add_file("two", parse(TWO).places)
    places.add_items("a", 1, one)
    places.add_key(("b",), one)
    places.add_key(("o", "z"), two)
    places.add_items("a", 3, two)
    return places


def place(places: MergedPlaces, *path: str | int) -> tuple[str, tuple[int, int]]:
    return places.file(path), places.value(path)


def test_each_part_is_found_in_its_file() -> None:
    places = merged()
    wanted: dict[Path, tuple[str, tuple[int, int]]] = {
        (): ("main", (1, 1)),
        ("a",): ("main", (1, 7)),
        ("a", 0): ("main", (1, 8)),
        ("a", 1): ("one", (2, 7)),
        ("a", 2, "k"): ("one", (2, 16)),
        ("a", 3): ("two", (2, 16)),
        ("b", "y", 0): ("one", (2, 33)),
        ("o", "x"): ("main", (2, 12)),
        ("o", "z"): ("two", (2, 6)),
        ("none",): ("main", (1, 1)),
    }
    assert {path: place(places, *path) for path in wanted} == wanted
    assert places.key(("o", "z")) == (2, 1)


def test_a_key_that_a_rule_has_from_elsewhere_stands_there_and_tells_the_rule() -> None:
    places = merged()
    places.add_moved(("a", 2, "added"), ("o", "z"))
    assert place(places, "a", 2, "added", 0) == ("two", (2, 6))
    assert places.user(("a", 2, "added")) == "one:2:10"
    assert places.user(("a", 2, "k")) == ""
