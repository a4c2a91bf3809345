"""The store in a directory: two real processes against a model, and processes that die in the middle of a write."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stage.store_process import StoreProcess
from tests.stage.waiting import wait_until

KEYS = ["site.pem", "a/one", "a/two", "a/deep/*.example.com", "b/[::1]"]
values = st.text("xyz", max_size=3)
maybe = st.none() | values
operations = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), values),
    st.tuples(st.just("get"), st.sampled_from(KEYS)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("list"), st.sampled_from(["", "a/", "a/deep/", "b/", "c/"])),
    st.tuples(st.just("swap"), st.sampled_from(KEYS), maybe, maybe),
)


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Path, StoreProcess, StoreProcess]]:
    directory = Path(tempfile.mkdtemp()) / "store"
    with StoreProcess(directory) as one, StoreProcess(directory) as other:
        yield directory, one, other
    shutil.rmtree(directory.parent)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), operations), max_size=25))
def test_two_processes_act_as_one_model(
    two: tuple[Path, StoreProcess, StoreProcess], script: list[tuple[bool, tuple[str, ...]]]
) -> None:
    directory, one, other = two
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    model: dict[str, str] = {}
    for is_other, (operation, *arguments) in script:
        found = (other if is_other else one).do(operation, *arguments)
        match operation, *arguments:
            case "get", key:
                assert found == model.get(key)
            case "list", prefix:
                assert found == sorted(key for key in model if key.startswith(prefix))
            case "put", key, value:
                model[key] = value
            case "delete", key:
                model.pop(key, None)
            case "swap", key, expected, value:
                assert found == (model.get(key) == expected)
                if found and value is None:
                    model.pop(key, None)
                elif found:
                    model[key] = value


def test_processes_that_compete_lose_no_update(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as one, StoreProcess(tmp_path) as other:
        for side in (one, other):
            side.begin("count", "counter", 40)
        assert one.answer() is None
        assert other.answer() is None
        assert one.do("get", "counter") == "80"


def test_a_process_that_is_killed_leaves_a_whole_value(tmp_path: Path) -> None:
    """Each time at another place: a value is 200 KB of one letter, old or new, and the next writer goes on."""
    seen: set[str] = set()
    size = 200_000
    with StoreProcess(tmp_path) as reader:
        assert reader.do("put", "a/site.pem", "-" * size) is None
        for number in range(12):
            with StoreProcess(tmp_path) as writer:
                assert writer.do("fill", "a/site.pem", size) == "begun"
                before = (tmp_path / "a/site.pem").stat().st_ino
                for _ in range(number % 4):
                    site = tmp_path / "a/site.pem"
                    wait_until(
                        lambda file=site, old=before: file.stat().st_ino != old, "another value", directory=site.parent
                    )
                writer.process.send_signal(signal.SIGKILL)
                writer.process.wait()
            value = reader.do("get", "a/site.pem")
            assert len(value) == size
            assert len(set(value)) == 1
            seen.add(value[0])
        assert reader.do("put", "a/site.pem", "whole") is None
        assert reader.do("get", "a/site.pem") == "whole"
        assert reader.do("list", "") == ["a/site.pem"]
    assert [path.name for path in tmp_path.iterdir() if path.name == ".new"] == []
    assert len(seen) > 1
