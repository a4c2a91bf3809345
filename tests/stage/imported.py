"""nginx configs imported, and looked at as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npserver.config.jsonc import parse
from npserver.importing.nginx import import_nginx


def imported(directory: Path, text: str) -> dict[str, Any]:
    """Import a config and return the value of ours; `"losses"` and `"text"` are what the import says besides."""
    file = directory / "nginx.conf"
    file.write_text(text)
    result = import_nginx(str(file))
    value: dict[str, Any] = parse(result.text).value
    return {**value, "losses": result.losses, "text": result.text}


def rules(directory: Path, server: str, http: str = "") -> list[dict[str, Any]]:
    """Import a server with these directives and return its rules."""
    text = f"http {{ {http}\nserver {{ listen 80; {server} }} }}"
    found: list[dict[str, Any]] = imported(directory, text)["dispatch"]
    return found
