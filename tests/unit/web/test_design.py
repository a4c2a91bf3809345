"""The look that all pages share: what their policy allows, and colours that can be read."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from npserver.config.document import Document
from npserver.config.load import load_text
from npserver.config.report import Report
from npserver.program.default_rule import default_rule
from npserver.web import error_pages
from npserver.web.design import BASE, OWN, Design
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static import listing

COLOURS = dict(re.findall(r"--(\w+):light-dark\((#\w+,#\w+)\)", BASE))


def hashes(page: str, tag: str) -> list[str]:
    """The hashes of the page's style or scripts, as a browser computes them (CSP3 §6.7.2.4)."""
    texts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts]


def luminance(colour: str) -> float:
    """The relative luminance (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("screen", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "card"])
@pytest.mark.parametrize("ink", ["ink", "soft", "link"])
def test_text_has_contrast_on_light_and_dark_screens(ink: str, ground: str, screen: int) -> None:
    one, other = (luminance(COLOURS[name].split(",")[screen]) for name in (ink, ground))
    assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= 4.5


def test_the_policy_names_what_is_in_the_page_and_nothing_else() -> None:
    design = Design("p{margin:0}", script="alert(1)")
    page = design.page("title", "<p>body</p>")
    assert hashes(page, "style") == re.findall(r"style-src ('sha256-\S+?');", design.policy)
    assert hashes(page, "script") == re.findall(r"script-src ('sha256-\S+?');", design.policy)
    assert design.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in design.policy
    assert "script" not in Design().policy


def served() -> dict[str, tuple[str, str]]:
    """Each page with its policy."""
    document: Document = load_text("{}", "config.json")
    welcome = default_rule(Report(document))
    assert isinstance(welcome, RespondRule)
    pages = {"welcome": (str(welcome.response_headers), welcome.body)}
    for name, (fields, body) in {
        "error": error_pages.render(404, b"text/html", "a" * 32),
        "listing": listing.render([], "/<a>/", listing.BY_NAME),
    }.items():
        pages[name] = fields.decode(), body.decode()
    return pages


@pytest.mark.parametrize("name", ["welcome", "error", "listing"])
def test_each_page_has_the_look_and_loads_nothing(name: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    policy, page = served()[name]
    assert BASE in page
    assert hashes(page, "style")[0] in policy
    assert "<h1" in page
    assert '<html lang="en">' in page
    assert not re.search(r"<script|<link|src=|url\(|@import|style=|http:|https:", page)


def test_pages_of_a_site_do_not_name_npserver() -> None:
    for _, body in (error_pages.render(404, b"text/html", ""), listing.render([], "/", listing.BY_NAME)):
        assert b"npserver" not in body


def test_an_error_page_is_small() -> None:
    fields, body = error_pages.render(404, b"text/html", "a" * 32)
    assert len(body) < 1400
    assert len(fields) < 350
    assert OWN not in body.decode()
