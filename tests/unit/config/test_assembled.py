"""A config that is put together: a problem has the file and place of the value, and no value of a variable."""

from __future__ import annotations

from pathlib import Path

from npserver.config.assemble import assemble
from npserver.config.files import ConfigFiles


def test_problems_have_their_place_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a-long-secret")
    (tmp_path / "b.json").write_text('{\n"root": "${file:secret}"}')
    file = str(tmp_path / "a.json")
    whole = assemble('{"include": "b.json", "user": "joe"}', file, ConfigFiles())
    assert whole.value == {"user": "joe", "root": "a-long-secret"}
    whole.add(("root",), "no root: a-long-secret")
    whole.add(("user",), "no user")
    assert [str(one) for one in whole.problems] == [
        f"{tmp_path}/b.json:2:9: no root: ${{file:secret}}",
        f"{file}:1:31: no user",
    ]
    assert (whole.file_of(("root",)), whole.file_of(("user",))) == (f"{tmp_path}/b.json", file)
