"""Configs of well-known applications, as their documentation has them, are imported and pass `npserver check`."""

from __future__ import annotations

import random
import re
from pathlib import Path
from time import perf_counter

import pytest
import trustme

from npserver.cli.check import check
from npserver.config.jsonc import parse
from npserver.errors import ConfigError
from npserver.importing.nginx import import_nginx
from tests.stage.imported import imported

CONFIGS = sorted((Path(__file__).parents[2] / "e2e" / "nginx_configs").glob("*.conf"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a certificate, a password file and a page."""
    authority = trustme.CA()
    names = ("example.com", "*.example.com", "*.example.org", "vault.example.tld")
    certificate = authority.issue_cert(*names)
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "cert.pem", append=True)
    (tmp_path / "htpasswd").write_text("joe:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n")
    (tmp_path / "htpasswd").chmod(0o600)
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("page")
    return tmp_path


def test_there_are_twenty_of_them() -> None:
    assert len(CONFIGS) >= 20


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_a_config_is_imported_and_passes_the_check(config: Path, site: Path) -> None:
    file = site / config.name
    file.write_text(config.read_text().replace("@DIR@", str(site)))
    ours = site / "npserver.json"
    ours.write_text(import_nginx(str(file)).text)
    try:
        check(str(ours))
    except ConfigError as error:
        pytest.fail(f"{error}\n{ours.read_text()}")


def test_a_broken_config_is_imported_or_refused_with_its_place(tmp_path: Path) -> None:
    chance = random.Random(5)
    texts = [config.read_text() for config in CONFIGS]
    words = [
        *" ".join(texts).split(),
        '"',
        "'",
        "\\",
        "{",
        "}",
        ";",
        "$",
        "0",
        "999999999999",
        "-1",
        "\0",
        "=",
        "~",
        "",
    ]
    file = tmp_path / "nginx.conf"
    refused = 0
    for _ in range(400):
        tokens = re.findall(r"\s+|[\w.$/:-]+|.", chance.choice(texts))
        for _ in range(chance.randint(1, 4)):
            tokens[chance.randrange(len(tokens))] = chance.choice(words)
        file.write_text("".join(tokens))
        try:
            parse(import_nginx(str(file)).text)
        except ConfigError as error:
            refused += 1
            assert error.problems[0].file == str(file)
    assert 20 < refused < 380


@pytest.mark.parametrize(
    "directives",
    [
        "location /%d/ { try_files $uri /index.html; }",
        "location /%d { deny all; }",
        "location ~ /%d/ { return 200; }",
        "location = /%d { return 200; }",
        "if ($arg_x = %d) { return 200; }",
    ],
)
def test_thousands_of_locations_take_no_longer_than_their_number(directives: str, tmp_path: Path) -> None:
    started = perf_counter()
    config = imported(tmp_path, f"server {{ root /w; {' '.join(directives % number for number in range(2000))} }}")
    assert len(config["dispatch"]) >= 2000
    assert perf_counter() - started < 20


def test_more_rules_than_there_may_be_are_refused(tmp_path: Path) -> None:
    text = " ".join(f"location /{one}/ {{ }} location ~ x{one} {{ }}" for one in range(400))
    with pytest.raises(ConfigError, match=":1:1: more than 20000 rules would be needed"):
        imported(tmp_path, f"server {{ {text} }}")


def test_settings_for_all_servers(tmp_path: Path) -> None:
    text = (
        "http { types { text/csv csv; } keepalive_timeout 65s; client_body_timeout 2m; send_timeout 0;"
        "server { set_real_ip_from 10.0.0.0/8; real_ip_header X-Real-IP; return 200; } }"
    )
    config = imported(tmp_path, text)
    assert config["mime"] == {"csv": "text/csv"}
    assert config["timeouts"] == {"body": 120, "idle": 65}
    assert config["trusted_proxies"] == ["10.0.0.0/8"]
    assert ["the client is told by Forwarded" in one for one in config["losses"]] == [True]


def test_the_example_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "coming-from-nginx-or-caddy.md").read_text()
    section = page.partition("## Import a config of nginx")[2].partition("\n## ")[0]
    theirs, ours = (section.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("nginx", "jsonc"))
    monkeypatch.chdir(tmp_path)
    Path("nginx.conf").write_text(theirs)
    assert import_nginx("nginx.conf").text == ours


def test_a_directive_without_counterpart_is_named_with_its_place(tmp_path: Path) -> None:
    text = imported(tmp_path, "http {\n server {\n listen 80;\n return 200;\n slice 1m;\n}\n}")["text"]
    assert f"// {tmp_path}/nginx.conf:5: 'slice 1m': no counterpart\n" in text


def test_the_defaults_of_nginx_are_kept(tmp_path: Path) -> None:
    config = imported(tmp_path, "http { server { listen 80; return 200; } }")
    assert config["limits"] == {"max_body_size": "1m"}
    assert config["gzip"] is False
