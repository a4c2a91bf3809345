"""The reference of the config is up to date and whole."""

from __future__ import annotations

import re
from pathlib import Path

from npserver.config.reference import reference
from npserver.config.schema import Config
from npserver.config.shape import section_keys

ROOT = Path(__file__).parents[3]


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference(), (
        "run: npserver schema -markdown > docs/configuration.md"
    )


def test_the_reference_names_every_key_and_its_links_lead_somewhere() -> None:
    page = reference()
    for name in section_keys(Config):
        assert name == "$schema" or f"| `{name}` |" in page
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= titles
