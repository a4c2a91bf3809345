"""Internationalized domain names, encoded as clients do (UTS 46 non-transitional, IDNA 2008)."""

from __future__ import annotations

import pytest

from npserver.idn import to_ascii


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Example.COM", "Example.COM"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("straße.home", "xn--strae-oqa.home"),  # IDNA 2003: strasse.home
        ("faß.de", "xn--fa-hia.de"),
        ("βόλος.com", "xn--nxasmm1c.com"),  # a final sigma, which IDNA 2003 turns into another letter
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("www.食狮.公司.cn", "www.xn--85x722f.xn--55qx5d.cn"),
        ("נס.example", "xn--lebc.example"),
        ("_dmarc.bücher.example.", "_dmarc.xn--bcher-kva.example."),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # composed
        ("☃.net", "xn--n3h.net"),  # a symbol, which browsers accept
        ("i❤.ws", "xn--i-7iq.ws"),
    ],
)
def test_a_name_is_encoded_as_clients_do(name: str, expected: str) -> None:
    assert to_ascii(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "ü" * 70,
        "☃" * 70,
        "a\u200db.example",
        "-ü.example",
        "ü-.example",
        "ü\ud800",
        "\u0300a.example",
        "אa.example",
        "☃א1a.x",
    ],
)
def test_what_no_client_would_send_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid internationalized domain name: [a-z]"):
        to_ascii(name)
