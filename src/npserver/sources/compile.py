"""Checks the keys of data from URLs, which are the same for all kinds of data."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from npserver.runtime.http_get import is_http_url

if TYPE_CHECKING:
    from npserver.config.report import Path, Report

MIN_REFRESH_S = 1.0
POLITE_REFRESH_S = 60.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_url(report: Report, path: Path, url: str, shown: str = "'url'", example: str = "ips.txt") -> None:
    """Report what is wrong with a URL. `shown` stands for it in messages, as it may hold a secret."""
    if not is_http_url(url):
        wanted = f"a URL such as https://www.example.net/{example}"
        report.error(path, f"{shown}: expected {wanted}, without user name")
    elif url.startswith("http://") and (urlsplit(url).hostname or "") not in _LOOPBACK:
        report.warn(path, f"{shown}: a list that comes over http can be forged on its way: use https")


def check_refresh(report: Report, path: Path, refresh_s: float, *, is_local: bool) -> None:
    """Report what is wrong with how often a URL is asked. `is_local`: it is on this machine."""
    if refresh_s < MIN_REFRESH_S:
        report.error(path, f"'refresh': expected {MIN_REFRESH_S:g} s or more")
    elif refresh_s < POLITE_REFRESH_S and not is_local:
        report.warn(path, f"'refresh': servers refuse callers who ask every {refresh_s:g} s")
