"""Chromium uses an API of another origin as `cors` allows it, and reads proxied answers that were compressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.browser import REPORT, browser, reports, requests
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.refused import HASH

pytestmark = needs("chromium")

PAGE = f"""<!doctype html><meta charset="utf-8">{REPORT}
const api = 'http://127.0.0.1:API';
const told = (name, path, options) => fetch(path, options).then(
    answer => answer.text().then(text => `${{name}} ${{answer.status}} ${{text.length}}`),
    () => `${{name}} kept from the page`);
(async () => report((await Promise.all([
    told('put', api + '/open', {{method: 'PUT', headers: {{'X-Token': '1'}}}}),
    told('cookies', api + '/open', {{credentials: 'include'}}),
    told('unnamed method', api + '/open', {{method: 'DELETE'}}),
    told('unnamed field', api + '/open', {{headers: {{'X-Other': '1'}}}}),
    told('sign-in', api + '/private', {{method: 'PUT'}}),
    told('unnamed origin', api + '/other'),
    told('compressed', '/compressed'),
])).join(', ')))()</script>"""


@pytest.mark.timeout(90)
def test_a_page_reads_what_it_may(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    page, api = free_port(), free_port()
    origin = f"http://127.0.0.1:{page}"
    allowed = {"origins": origin, "methods": ["GET", "PUT"], "headers": "X-Token", "credentials": True}
    config = {
        "listen": [{"name": "page", "uri": origin}, {"name": "api", "uri": f"http://127.0.0.1:{api}"}],
        "workers": 1,
        "logging": {"format": "json"},
        "dispatch": [
            {"handler": "respond", "listener": "page", "path": "/", "content_type": "text/html",
             "body": PAGE.replace("API", str(api)).replace("$", "$$")},
            {"handler": "respond", "listener": "page", "path": "/report/**", "status": 204},
            {"handler": "proxy", "listener": "page", "path": "/compressed", "gzip": True,
             "proxy_pass": f"http://127.0.0.1:{api}"},
            {"handler": "respond", "listener": "api", "path": "/compressed", "body": "long " * 1000},
            {"handler": "respond", "listener": "api", "path": "/open", "body": "open", "cors": allowed},
            {"handler": "respond", "listener": "api", "path": "/private", "cors": allowed,
             "basic_auth": {"users": {"alice": HASH}}},
            {"handler": "respond", "listener": "api", "path": "/other", "cors": {"origins": "https://a.test"}},
        ],
    }  # fmt: skip
    one = program(config=config)
    with browser(f"{origin}/", tmp_path / "profile"):
        assert reports(one)[0].split(", ") == [
            "put 200 4", "cookies 200 4", "unnamed method kept from the page", "unnamed field kept from the page",
            f"sign-in 401 {len('401 Unauthorized') + 1}", "unnamed origin kept from the page", "compressed 200 5000",
        ]  # fmt: skip
    sizes = sorted(line["sent_bytes"] for line in requests(one) if line["target"] == "/compressed")
    assert (sizes[0] < 200, sizes[1:]) == (True, [5000])  # to the browser, and to the proxy
