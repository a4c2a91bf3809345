"""Files of `htpasswd`: made by the real program, and wrong ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from npserver.web.middleware.basic_auth.htpasswd import apr1, parse_htpasswd
from tests.stage.programs import needs

PASSWORDS = ["secret", "ü€ and spaces : colons", "a", "sixteen bytes!!!", "x" * 71]


@needs("htpasswd")
@pytest.mark.parametrize("option", ["-B", "-m", "-s"], ids=["bcrypt", "apr1", "SHA"])
def test_hashes_of_htpasswd(option: str, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch()
    for number, password in enumerate(PASSWORDS):
        cost = ["-C", "4"] if option == "-B" else []
        subprocess.run(
            ["htpasswd", "-i", option, *cost, file, f"user{number}"],
            input=password.encode(),
            check=True,
            capture_output=True,
        )
    users = parse_htpasswd(file.read_bytes())
    assert list(users) == [f"user{number}" for number in range(len(PASSWORDS))]
    for stored, password in zip(users.values(), PASSWORDS, strict=True):
        assert stored.verify(password)
        assert not stored.verify(password + "x")
        assert not stored.verify("")
        assert repr(stored) in ("<BcryptHash>", "<Apr1Hash>", "<ShaHash>")  # without the hash


def test_a_password_is_cut_for_bcrypt_as_htpasswd_cuts_it() -> None:
    import bcrypt

    text = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
    stored = parse_htpasswd(b"joe:" + text)["joe"]
    assert stored.verify("x" * 72)
    assert stored.verify("x" * 100)
    assert not stored.verify("x" * 71)
    assert not stored.verify("x\0")


def test_known_answer_of_apr1() -> None:
    """`openssl passwd -apr1 -salt xxxxxxxx password`, as its manual shows."""
    assert apr1(b"password", b"xxxxxxxx") == b"dxHfLAsjHkDRmG83UXe8K0"


def test_what_a_file_may_hold_besides() -> None:
    first, second = b"joe:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=:Joe Doe:more", b"joe:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA="
    data = b"\n# comment\r\n" + first + b"\r\n" + second + b"\n\n"
    users = parse_htpasswd(data)
    assert list(users) == ["joe"]
    assert users["joe"].verify("password")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"joe", "line 1: not name:hash"),
        (b"\n:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 2: not name:hash"),
        (b"joe:secret", "line 1: not a hash of bcrypt, apr1, SHA or scrypt"),
        (b"joe:rqXexS6ZhobKA", "line 1: not a hash"),
        (b"joe:$6$salt$hash", "line 1: not a hash"),
        (b"joe:$2y$31$" + b"a" * 53, "line 1: a bcrypt hash of cost 31; from 4 to 15 are taken"),
        (b"joe:$apr1$toolongsalt$" + b"a" * 22, "line 1: not a hash"),
        (
            b"joe:$scrypt$ln=99,r=8,p=1$" + b"A" * 22 + b"$" + b"A" * 43,
            "line 1: password hash with parameters out of range",
        ),
        (b"j\xf6e:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 1: not UTF-8"),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match="line") as caught:
        parse_htpasswd(data)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_the_number_of_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npserver.web.middleware.basic_auth.htpasswd.MAX_USERS", 2)
    line = b":{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"
    with pytest.raises(ValueError, match="line 3: more than 2 users"):
        parse_htpasswd(b"a" + line + b"b" + line + b"c" + line)
