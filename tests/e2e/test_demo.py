"""`npserver demo`: its commands do what they promise, and so does each button of its page, with scripts and without.

Covers `cli.demo`, `cli.tour.clients`, `cli.tour.page`, `cli.tour.samples`, `cli.tour.server`, `cli.tour.settings`,
`cli.tour.steps` and `cli.tour.tries`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from npserver.cli.tour.steps import STEPS
from npserver.cli.tour.tries import DEAD_S
from tests.stage.browser import browser
from tests.stage.program import ROOT
from tests.stage.programs import needs
from tests.stage.waiting import wait_until


class Demo:
    """The demo, running. `rows`: what its table says there is to try, with the commands."""

    def __init__(self, process: subprocess.Popen[str], rows: list[tuple[str, str]]) -> None:
        self.process, self.rows = process, rows
        self.url = re.search(r"http://127\.0\.0\.1:\d+", rows[0][1])[0]  # type: ignore[index]

    @property
    def config(self) -> Path:
        """Its config file."""
        found = re.search(r"-config (\S+)", dict(self.rows)["Check the config"])
        assert found is not None
        return Path(found[1])

    def page(self) -> str:
        return httpx.get(f"{self.url}/", timeout=30).text


def start(cwd: Path) -> tuple[subprocess.Popen[str], list[tuple[str, str]]]:
    """Start it; return the process and the rows of its table: what there is to try, and the command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "npserver", "demo"],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    rows = []
    for line in process.stdout:
        if line.startswith("  "):
            what, _, command = line.strip().partition("  ")
            rows.append((what, command.strip()))
        if "Ctrl-C" in line:
            break
    return process, rows


@contextmanager
def running(cwd: Path) -> Iterator[Demo]:
    """Run it until the block ends; it must end as told, and have nothing to complain of."""
    process, rows = start(cwd)
    if not rows:  # a test beside this one has taken a port that was free: the demo says to try again
        assert process.communicate(timeout=30)[1].endswith(": try again\n")
        process, rows = start(cwd)
    try:
        yield Demo(process, rows)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert errors == ""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with running(tmp_path) as one:
        yield one


@needs("curl", "dig", "nc", "ncat")
def test_each_command_does_what_it_promises(demo: Demo) -> None:
    """Every command of the table is run as it is printed, and where `nc` is Ncat too."""
    npserver = f"{sys.executable} -m npserver"
    expected = {
        "Files, ranges and caching": "206 Partial Content",
        "A directory as a page, or as JSON": "forest.txt",
        "Compression": "Content-Encoding: ",
        "Balancing": '"served_by": "app',
        "Sticky clients": '"served_by": "app',
        "An app dies": "",
        "Drain an app": "empty",
        "Cache": "Cache-Status: npserver; fwd=uri-miss; stored",
        "WebSockets": "hello from app",
        "PHP, by FastCGI": "the script is /scripts/hello.php",
        "Rate limit": "200 200 200 200 200 429",
        "Sign-in": "you are in",
        "Bans": "401 Unauthorized",
        "A fixed answer, and fields that protect": "X-Content-Type-Options: nosniff",
        "Error pages": "502 Bad Gateway",
        "Redirect": "Location: ",
        "TLS": "hello 127.0.0.1",
        "HTTP over a Unix socket": "hello unix",
        "TCP": "tcp echo: hello",
        "TCP to UDP": "udp echo: hello",
        "UDP to TCP": "tcp echo: hello",
        "DNS": "CNAME",
        "Status": '"version"',
        "Ask why": "is passed to upstream://apps",
        "Check the config": "config.json: ok",
        "Access log": "",
    }
    assert [what for what, _ in demo.rows[1:]] == list(expected)
    for what, command in demo.rows[1:]:
        variants = {command, command.replace("| nc ", "| ncat ")} if expected[what] else ()
        for variant in variants:
            words = ["bash", "-c", re.sub("^npserver", npserver, variant)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            ran = subprocess.run(words, capture_output=True, timeout=30, cwd=demo.config.parent, env=environment)
            assert expected[what] in ran.stdout.decode(errors="replace"), what


#: What the result of a step says, whatever else it says.
TOLD = {
    "files": ("206 Partial Content", "304 Not Modified"),
    "listing": ("mountains.txt",),
    "compressed": ("Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: zstd"),
    "balanced": ("by app1", "by app2", "by app3"),
    "sticky": ("Set-Cookie: shop=",),
    "dead": ("app2 is stopped", "200, by app1", "200, by app3"),
    "drained": ("empty", "gets requests again"),
    "cached": ("stored", "; hit; "),
    "websocket": ("101 Switching Protocols",),
    "scripts": ("the script is /scripts/hello.php",),
    "limited": ("429 Too Many Requests", "Retry-After"),
    "private": ("401 Unauthorized", "you are in"),
    "banned": ("401 Unauthorized", "403 Forbidden", "banned  login  until", "no longer banned"),
    "fields": ("X-Content-Type-Options: nosniff",),
    "errors": ("404 Not Found", "502 Bad Gateway"),
    "redirected": ("Location: /hello",),
    "secure": ("TLS: TLSv1.3",),
    "local": ("hello unix:",),
    "tcp": ("tcp echo: hello",),
    "translate": ("udp echo: hello",),
    "game": ("tcp echo: hello",),
    "dns": ("CNAME web.demo.", "MX 10 web.demo.", "NXDOMAIN"),
    "status": ("of apps: up",),
    "explain": ("is passed to upstream://apps",),
    "check": ("config.json: ok",),
    "log": ("GET 127.0.0.1", "/hello?logged 200"),
}


def test_each_button_works_without_scripts(demo: Demo) -> None:
    assert list(TOLD) == list(STEPS)
    for name, parts in TOLD.items():
        text = httpx.post(f"{demo.url}/try/{name}", timeout=60).text
        result = re.search(rf'<div id="result-{name}"[^>]*>(.*?)</div>', text, re.DOTALL)
        assert result is not None
        assert 'class="bad"' not in result[1], result[1]
        assert all(part in result[1] for part in parts), (name, result[1])
        assert text.count('<ul class="result">') == 1
    assert "by app2" not in httpx.post(f"{demo.url}/try/dead", timeout=60).text
    began = "by app2"
    wait_until(lambda: began in httpx.post(f"{demo.url}/try/balanced", timeout=60).text, "app2 again", DEAD_S + 30)


#: Clicks each button of the page in the frame as a person does, then chats; tells in a request what came of it.
CLICK = """<!doctype html><iframe id="frame" width="WIDTH" height="800" src="/"></iframe><script>
const until = check => new Promise(done => { const timer = setInterval(() => { const found = check();
    if (found) { clearInterval(timer); done(found); } }, 50); });
frame.onload = async () => {
    const page = frame.contentDocument, at = id => page.getElementById(id), faults = [];
    page.addEventListener('securitypolicyviolation', event => faults.push(event.violatedDirective));
    for (const form of page.querySelectorAll('form[data-step]')) {
        form.querySelector('button').click();
        await until(() => form.querySelector('button').textContent === 'Try again');
        const result = at('result-' + form.dataset.step);
        if (!result.querySelector('.good') || result.querySelector('.bad')) faults.push(form.dataset.step);
    }
    at('chat').querySelector('button').click();
    await until(() => at('said').textContent.includes('\\nhello'));
    fetch('/report/' + encodeURIComponent(JSON.stringify({
        faults, fits: page.documentElement.scrollWidth <= frame.clientWidth,
        chat: at('said').textContent.split('\\n')[0], at: frame.contentWindow.location.pathname,
    })));
};
</script>"""


@needs("chromium")
@pytest.mark.timeout(150)
@pytest.mark.parametrize("width", [390, 1440], ids=["phone", "desk"])
def test_a_person_clicks_each_button(demo: Demo, tmp_path: Path, width: int) -> None:
    directory = demo.config.parent
    (directory / "public" / "frame.html").write_text(CLICK.replace("WIDTH", str(width)))
    log = directory / "access.log"
    with browser(f"{demo.url}/frame.html", tmp_path / "profile"):
        found = wait_until(lambda: re.search(r"/report/(\S+)", log.read_text()), "a report", 100)
    told = json.loads(unquote(found[1]))
    assert told.pop("chat").startswith("hello from app")
    assert told == {"faults": [], "fits": True, "at": "/"}


def test_the_page_shows_the_config_as_it_is_now(demo: Demo) -> None:
    page = demo.page()
    assert '<i title="' in page
    assert "&quot;round-robin&quot;" in page
    text = demo.config.read_text()
    demo.config.write_text("// mine\n" + text.replace("round-robin", "random"))
    page = demo.page()
    assert "&quot;round-robin&quot;" not in page
    assert "&quot;random&quot;" in page
    config = json.loads(text)
    del config["upstreams"]["shops"]
    demo.config.write_text(json.dumps(config))
    assert "The config has no upstreams shops any more." in demo.page()
    demo.config.write_text("{")
    assert "The config cannot be read: " in demo.page()
    demo.config.write_text(text.replace('"body": "come in', '"body": "welcome'))
    wait_until(lambda: "welcome" in httpx.get(f"{demo.url}/limited", timeout=30).text or None, "the reload")


def test_only_its_own_buttons_work(demo: Demo) -> None:
    for name, fields, status in (
        ("hello", {}, 404),
        ("limited", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("limited", {"Sec-Fetch-Site": "same-site"}, 403),
    ):
        assert httpx.post(f"{demo.url}/try/{name}", headers=fields, timeout=30).status_code == status
    policy = httpx.get(f"{demo.url}/", timeout=30).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"<link|src=|url\(|@import|style=", demo.page())
