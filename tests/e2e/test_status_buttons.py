"""The buttons of the status page: what a person presses is done, what a stranger's page or a script sends is not.

Covers `upstream.drain_requests` and `web.handlers.status.buttons`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from npserver.embed import serve
from tests.stage.backends import Backends
from tests.stage.browser import REPORT, browser, reports
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


class Page:
    """The status page of a running program, and the form on it."""

    def __init__(self, one: Program, port: int) -> None:
        self.one, self.port, self.url = one, port, f"http://127.0.0.1:{port}/status"
        self.form = {"token": self.read(r'name="token" value="(\w+)"')}
        self.fields = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}

    def read(self, pattern: str) -> str:
        """Return what a pattern finds in the page; "" if nothing."""
        text = httpx.get(self.url, headers={"Accept": "text/html"}, timeout=30).text
        found = re.search(pattern, text)
        return found[1] if found else ""

    def press(self, verb: str, target: str, **fields: str) -> httpx.Response:
        return httpx.post(self.url, data={**self.form, verb: target}, headers={**self.fields, **fields}, timeout=30)

    def draining(self) -> list[str]:
        """Return the drained targets."""
        told = httpx.get(f"{self.url}?format=json", timeout=30).json()["targets"]
        return [target["target"] for target in told if target["health"] == "draining"]


@pytest.fixture
def paged(program: Start, backends: Backends, free_port: Callable[[], int]) -> Callable[..., tuple[Page, str, str]]:
    """Return `paged(workers)`: a page, and the URIs of its two targets."""

    def serve(workers: int, **config: Any) -> tuple[Page, str, str]:
        a, b = (f"http://127.0.0.1:{backends.http(name)}" for name in "ab")
        port = free_port()
        settings = {
            "listen": [{"name": "web", "uri": f"http://127.0.0.1:{port}", "http2": True}],
            "workers": workers,
            "upstreams": {"app": {"targets": [a, b]}},
            "logging": {"format": config.get("format", "combined")},
            "dispatch": [
                {"handler": "proxy", "proxy_pass": "upstream://app", "path": "/app"},
                {"handler": "status", "buttons": True, **config.get("status", {})},
                {"handler": "respond", "path": "/report/**", "status": 204},
            ],
        }
        settings["dispatch"] += config.get("rules", [])
        return Page(program(config=settings), port), a, b

    return serve


@WORKERS
def test_a_target_is_drained_and_used_again(paged: Callable[..., tuple[Page, str, str]], workers: int) -> None:
    page, a, b = paged(workers)
    assert page.read(rf'<button name="drain" value="({re.escape(a)})">drain</button>') == a
    answer = page.press("drain", a)
    assert (answer.status_code, answer.headers["location"]) == (303, "?")
    page.one.wait_for(rf"target {re.escape(a)} of upstream app is drained \(status page, by 127\.0\.0\.1\)$")
    page.one.wait_until(lambda: page.draining() == [a], "the drain in the worker that shows the page")
    page.one.wait_until(lambda: page.read(rf'<button name="undrain" value="({re.escape(a)})">'), "the other button")
    assert page.one.command("status", "-json")[1].count('"is_draining": true') == 1

    last = page.press("drain", b, Accept="application/json")
    assert last.status_code == 409
    assert last.json()["error"].startswith(f"{b} is the last target of upstream app that can be used")
    assert "-force" not in last.text
    assert page.press("drain", b).text == f"{last.json()['error']}\n"
    page.one.wait_for(rf"drain of '{re.escape(b)}' refused \(status page, by 127\.0\.0\.1\): ")
    assert page.press("drain", "http://nobody").status_code == 409

    answer = page.press("undrain", a, Accept="application/json")
    assert (answer.status_code, answer.json()) == (200, {"error": None})
    page.one.wait_for(r"gets requests again \(status page, by 127\.0\.0\.1\)$")
    page.one.wait_until(lambda: not page.draining(), "the end of the drain")
    assert page.press("undrain", a).text == f"'{a}' is not drained\n"


def test_nothing_else_than_a_press_on_the_page_drains(paged: Callable[..., tuple[Page, str, str]]) -> None:
    page, a, _ = paged(2)
    press, stranger = page.press, f"http://evil.example:{page.port}"
    assert httpx.get(page.url, params={**page.form, "drain": a}, headers=page.fields, timeout=30).status_code == 200
    for method in ("PUT", "DELETE", "PATCH"):
        answer = httpx.request(method, page.url, data={**page.form, "drain": a}, headers=page.fields, timeout=30)
        assert answer.status_code == 405
    refused = [
        press("drain", a, Origin="https://evil.example", **{"Sec-Fetch-Site": "cross-site"}),
        press("drain", a, **{"Sec-Fetch-Site": "cross-site"}),
        press("drain", a, **{"Sec-Fetch-Site": "same-site"}),
        press("drain", a, **{"Sec-Fetch-Site": "none"}),
        press("drain", a, Origin="null"),
        press("drain", a, Origin=f"http://127.0.0.1:{page.port}.evil.example"),
        press("drain", a, Origin="http://127.0.0.1"),
        press("drain", a, Host=f"evil.example:{page.port}", Origin=stranger),  # its name led here: DNS rebinding
        press(
            "drain", a, Host=f"localhost.evil.example:{page.port}", Origin=f"http://localhost.evil.example:{page.port}"
        ),
    ]
    page.form["token"] = "0" * 32
    refused.append(press("drain", a))
    del page.form["token"]
    refused.append(press("drain", a))
    page.fields.clear()
    refused.append(press("drain", a))  # a script that says nothing of where it comes from
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert page.draining() == []
    assert "is drained" not in page.one.errors


def test_forms_that_are_none(paged: Callable[..., tuple[Page, str, str]]) -> None:
    page, a, b = paged(0)
    assert page.press("drain", "x" * 5000).status_code == 413
    assert page.press("other", a).status_code == 400
    page.form["undrain"] = b
    assert page.press("drain", a).status_code == 400
    assert page.press("drain", a, **{"Content-Type": "application/json"}).status_code == 415
    assert page.draining() == []


@needs("curl")
def test_over_http2_the_same_holds(paged: Callable[..., tuple[Page, str, str]]) -> None:
    page, a, _ = paged(2)

    def send(*fields: str) -> str:
        options = [word for field in fields for word in ("-H", field)]
        form = ["-d", f"token={page.form['token']}", "--data-urlencode", f"drain={a}"]
        command = ["curl", "-s", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
        return subprocess.run([*command, *options, *form, page.url], capture_output=True, text=True, timeout=30).stdout

    assert send("Origin: https://evil.example", "Sec-Fetch-Site: cross-site") == "2 403"
    assert send() == "2 403"
    assert page.draining() == []
    assert send(f"Origin: http://127.0.0.1:{page.port}") == "2 303"
    page.one.wait_until(lambda: page.draining() == [a], "the drain")


def test_pages_of_others_may_not_show_it_in_a_frame(paged: Callable[..., tuple[Page, str, str]]) -> None:
    page, *_ = paged(0)
    policy = httpx.get(page.url, headers={"Accept": "text/html"}, timeout=30).headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy
    assert "form-action 'self'" in policy


#: Presses the first button in the frame, then the one of the other target, which is the last; tells what is shown.
PRESS = """
const until = check => new Promise(done => { const timer = setInterval(() => { const found = check();
    if (found) { clearInterval(timer); done(found); } }, 50); });
frame.onload = async () => {
    const page = frame.contentDocument, at = id => page.getElementById(id);
    await until(() => at('live').textContent === 'live');
    page.querySelector('button[name=drain]').focus();
    page.querySelector('button[name=drain]').click();
    const back = await until(() => page.querySelector('button[name=undrain]'));
    const focused = page.activeElement.value === back.value;
    page.querySelector('button[name=drain]').click();
    const said = await until(() => at('said').textContent);
    page.querySelector('button[name=undrain]').click();
    await until(() => !page.querySelector('button[name=undrain]') && !at('said').textContent);
    report(JSON.stringify({ said, focused, url: frame.contentWindow.location.pathname }));
};
</script>"""


@needs("chromium")
@pytest.mark.timeout(120)
def test_a_browser_presses_them(paged: Callable[..., tuple[Page, str, str]], tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "frame.html").write_text(
        f'<!doctype html><iframe id="frame" width="1000" height="800" src="/status"></iframe>{REPORT}{PRESS}'
    )
    page, *_ = paged(2, format="json", rules=[{"handler": "static", "root": str(tmp_path / "site")}])
    with browser(f"http://127.0.0.1:{page.port}/frame.html", tmp_path / "profile"):
        (told,) = reports(page.one)
    said = json.loads(told)
    assert "is the last target of upstream app that can be used" in said.pop("said")
    assert said == {"focused": True, "url": "/status"}


#: Presses the first button in the frame, and tells what is shown.
PRESS_ONCE = """
const until = check => new Promise(done => { const timer = setInterval(() => { const found = check();
    if (found) { clearInterval(timer); done(found); } }, 50); });
frame.onload = async () => {
    const page = frame.contentDocument;
    page.querySelector('button[name=drain]').click();
    report(await until(() => page.getElementById('said').textContent));
};
</script>"""


@needs("chromium")
@pytest.mark.timeout(120)
def test_a_name_that_was_led_here_drains_nothing(paged: Callable[..., tuple[Page, str, str]], tmp_path: Path) -> None:
    """DNS rebinding: for the browser the page and the status page have one origin."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "frame.html").write_text(
        f'<!doctype html><iframe id="frame" width="1000" height="800" src="/status"></iframe>{REPORT}{PRESS_ONCE}'
    )
    page, *_ = paged(0, format="json", rules=[{"handler": "static", "root": str(tmp_path / "site")}])
    led = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with browser(f"http://evil.example:{page.port}/frame.html", tmp_path / "profile", led):
        (said,) = reports(page.one)
    assert said.startswith('Refused. Load the page again; the name in the address bar must be in "host" of the rule')
    page.one.wait_for(
        r"buttons work at an IP address, at localhost, and at the hosts that the rule names \(dispatch\[1\]\.host\)"
    )
    assert page.draining() == []


#: Presses the first button in a frame that is not live, as another one is.
PRESS_STILL = """
const until = check => new Promise(done => { const timer = setInterval(() => { const found = check();
    if (found) { clearInterval(timer); done(found); } }, 50); });
const said = one => one.contentDocument?.getElementById('live')?.textContent;
frame.onload = async () => {
    await until(() => said(frame) === 'live');
    const other = document.body.appendChild(document.createElement('iframe'));
    other.src = '/status';
    await until(() => said(other) === 'not live');
    const button = other.contentDocument.querySelector('button[name=drain]');
    button.click();
    await until(() => button.name === 'undrain' && button.textContent === 'undrain');
    report(said(other));
};
</script>"""


@needs("chromium")
@pytest.mark.timeout(120)
def test_a_page_that_is_not_live_shows_what_a_button_has_done(
    paged: Callable[..., tuple[Page, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "frame.html").write_text(
        f'<!doctype html><iframe id="frame" src="/status"></iframe>{REPORT}{PRESS_STILL}'
    )
    rules = [{"handler": "static", "root": str(tmp_path / "site")}]
    page, a, b = paged(0, format="json", rules=rules, status={"viewers": 1})
    with browser(f"http://127.0.0.1:{page.port}/frame.html", tmp_path / "profile"):
        assert reports(page.one) == ["not live"]
    assert page.draining() in ([a], [b])


def test_a_page_from_before_a_reload_still_works(paged: Callable[..., tuple[Page, str, str]]) -> None:
    page, a, b = paged(2)
    assert page.press("drain", a).status_code == 303
    assert page.one.command("reload")[0] == 0
    assert page.press("drain", b).status_code == 409  # the drain has lasted
    assert page.press("undrain", a).status_code == 303
    page.one.wait_until(lambda: not page.draining(), "the end of the drain")


async def test_an_embedded_server_says_that_it_takes_no_commands() -> None:
    config = {
        "listen": [{"name": "web", "uri": "http://127.0.0.1:0"}],
        "dispatch": [
            {"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "path": "/app"},
            {"handler": "status", "buttons": True},
        ],
    }
    async with serve(config) as server, httpx.AsyncClient(timeout=30) as client:
        text = (await client.get(f"{server.url()}/status", headers={"Accept": "text/html"})).text
        token = re.search(r'name="token" value="(\w+)"', text)
        assert token is not None
        form = {"token": token[1], "drain": "http://127.0.0.1:1"}
        answer = await client.post(f"{server.url()}/status", data=form, headers={"Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, answer.text) == (
            503, "a server in another program (npserver.serve) takes no commands\n"
        )  # fmt: skip


#: A page of another site: it posts the form, and tells when it has been answered.
FOREIGN = """<!doctype html><iframe name="in"></iframe>
<form method="post" target="in" action="TARGET/status"><input name="drain" value="APP"></form>
<script>document.forms[0].submit();
const body = new URLSearchParams({drain: 'APP'});
const sent = fetch('TARGET/status', {method: 'POST', mode: 'no-cors', body, credentials: 'include'});
sent.finally(() => fetch('TARGET/report/sent', {mode: 'no-cors'}));</script>"""


@needs("chromium")
@pytest.mark.timeout(120)
def test_a_page_of_another_site_drains_nothing(
    paged: Callable[..., tuple[Page, str, str]], program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    page, a, _ = paged(0, format="json")
    (tmp_path / "evil").mkdir()
    text = FOREIGN.replace("TARGET", f"http://127.0.0.1:{page.port}").replace("APP", a)
    (tmp_path / "evil" / "index.html").write_text(text)
    port = free_port()
    program(f"http://127.0.0.1:{port}", "-root", str(tmp_path / "evil"))
    with browser(f"http://localhost:{port}/", tmp_path / "profile"):
        reports(page.one)
        page.one.wait_for("the request comes from a page of another site")
    assert page.draining() == []
