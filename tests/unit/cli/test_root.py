"""`npserver cert -root`: the roots in a store, without their keys."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from npserver.cli import cert
from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles
from npserver.tls.local_authority import LEAVES, LOCAL_ROOT, ROOTS, LocalAuthority, Wanted, certificate_of
from npserver.tls.x509 import parse_pem
from tests.stage.programs import needs

SOURCES = Path(__file__).parents[3] / "src"
Said = pytest.CaptureFixture[str]


def make(directory: Path, *names: str) -> StoreFiles:
    files = StoreFiles(str(directory))
    authority = LocalAuthority(DirectoryStore(files, in_threads=False), in_threads=False)
    finish(authority.ensure(Wanted(names, False, 1000.0), 1.8e9))
    return files


def test_the_root_goes_to_the_output_and_advice_beside_it(tmp_path: Path, capsys: Said) -> None:
    files = make(tmp_path / "store", "nas.home")
    assert cert.main(["-root", "-store", str(tmp_path / "store")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("-----BEGIN CERTIFICATE-----\n")
    assert said.out.count("-----") == 4
    assert said.out.encode() in (files.read(LOCAL_ROOT) or b"")
    assert parse_pem(said.out.encode()).key_kind == "EC"
    assert f"this is the root for local names, of the store in {tmp_path / 'store'}" in said.err
    for command in (
        "update-ca-certificates",
        "update-ca-trust",
        "security add-trusted-cert",
        "certutil -addstore",
        "-A -t C,,",
    ):
        assert command in said.err


def test_the_root_for_other_names_is_one_more(tmp_path: Path, capsys: Said) -> None:
    for name in ("nas.home", "example.com"):
        make(tmp_path / "store", name)
    (tmp_path / "c.json").write_text('{"store": "store"}')
    assert cert.main(["--root", "--config", str(tmp_path / "c.json")]) == 0
    said = capsys.readouterr()
    assert said.out.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" not in said.out + said.err
    assert "the root for all other names" in said.err


def test_each_root_alone(tmp_path: Path, capsys: Said) -> None:
    """A directory may be called as the option is, or as a root."""
    for store in ("root", "local"):
        make(tmp_path / store, "nas.home", "example.com")
        assert cert.main(["-root", "local", "-store", str(tmp_path / store)]) == 1
        assert f"no root for local names in {tmp_path / store}: " in capsys.readouterr().err
        files = make(tmp_path / store, "nas.home")
        for word, key in ROOTS.items():
            assert cert.main(["-store", str(tmp_path / store), "-root", word]) == 0
            said = capsys.readouterr()
            assert said.out.encode() == certificate_of(files.read(key) or b"")
            assert said.err.count("this is the root for") == said.err.count("Debian, Ubuntu") == 1


@needs("certutil", "openssl")
def test_what_is_printed_makes_others_trust_both_roots(tmp_path: Path, capsys: Said) -> None:
    """The commands as they stand, in a shell: of a store that the config names, from another directory."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/c.json").write_text('{"store": "a store"}')
    for name in ("nas.home", "example.com"):
        files = make(tmp_path / "config/a store", name)
    assert cert.main(["-root", "-config", str(tmp_path / "config/c.json")]) == 0
    advice = capsys.readouterr().err
    into_files = re.findall(r"^  (npserver cert .*)$", advice, re.MULTILINE)
    imports = re.findall(r"^  Chromium, Linux +(.*)$", advice, re.MULTILINE)
    assert len(into_files) == len(imports) == 2

    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/npserver"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={SOURCES} exec {sys.executable} -m npserver "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}:/usr/sbin"
    (tmp_path / ".pki/nssdb").mkdir(parents=True)

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=30, cwd=tmp_path,
            env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for command in ["certutil -d sql:.pki/nssdb -N --empty-password", *into_files, *imports, "openssl rehash ."]:
        run(command)
    assert len(list(tmp_path.glob("*.0"))) == 2
    leaves = files.states(LEAVES)
    assert len(leaves) == 2
    for number, key in enumerate(leaves):
        (tmp_path / f"{number}.leaf").write_bytes(certificate_of(files.read(key) or b""))
        run(f"openssl verify -attime 1800000000 -CApath . {number}.leaf")
        run(f"certutil -d sql:.pki/nssdb -A -t ,, -n {number} -i {number}.leaf")
        assert "certificate is valid" in run(f"certutil -d sql:.pki/nssdb -V -u V -b 270115080000Z -n {number}")


def test_where_there_is_none_it_says_when_it_is_made(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    assert cert.main(["-root"]) == 1
    assert f"no root in {tmp_path}/state: it is made at the first start" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_root_is_named(tmp_path: Path, capsys: Said) -> None:
    make(tmp_path, "nas.home").write(LOCAL_ROOT, b"garbage")
    assert cert.main(["-root", "-store", str(tmp_path)]) == 1
    assert f"{tmp_path}/{LOCAL_ROOT}: the root of the local authority is damaged" in capsys.readouterr().err


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "file").touch()
    assert cert.main(["-root", "-store", str(tmp_path / "file")]) == 1
    assert "not a directory (store)" in capsys.readouterr().err


def test_other_words_are_misuse(capsys: Said) -> None:
    assert cert.main(["-root", "nas.home"]) == 2
    wrong = "npserver cert: -root takes local, other, -config FILE or -store DIR, got 'nas.home'\n"
    assert capsys.readouterr().err == wrong + cert.USAGE
