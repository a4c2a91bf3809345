"""`npserver demo`: sample servers behind an npserver that uses every handler, and commands to try."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from npserver.cli.banner import wants_colour
from npserver.cli.samples import HttpApp, ScriptServer, TcpEcho, UdpEcho
from npserver.errors import StartError, clip
from npserver.web.design import BASE, OWN

HELP = """\
usage: npserver demo [-config]

Start sample servers and an npserver that uses every handler, on free loopback ports, and print commands to try.

  -config    only print the demo's config, with example ports
"""
APPS = 3
_BOLD, _DIM, _CYAN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>npserver demo</title>
<link rel="stylesheet" href="style.css">
<div class="mark">np<span>server</span></div>
<h1>npserver demo</h1>
<p>This page is a file. <a href="/api/hello">/api/hello</a> is proxied to one of three apps: reload it to see
another answer. <a href="/old">/old</a> redirects here, <a href="/status">/status</a> shows the counters,
<a href="/photos/">/photos/</a> lists a directory.</p>
<h2>WebSocket echo, through the proxy</h2>
<form><input id="text" value="hello"> <button>send</button></form>
<pre id="log"></pre>
<script>
  const log = document.querySelector("#log")
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/echo")
  socket.onmessage = event => log.textContent += event.data + "\\n"
  socket.onclose = () => log.textContent += "(closed)\\n"
  document.querySelector("form").onsubmit = event => {
    event.preventDefault()
    socket.send(document.querySelector("#text").value)
  }
</script>
</html>
"""
_STYLE = BASE + OWN + "\n" + "/* long enough to be worth compressing */\n" * 20


def main(words: list[str]) -> int:
    """Run the demo until Ctrl-C. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if words in (["-config"], ["--config"]):
        ports = dict(zip(_PORTS, range(8001, 8001 + len(_PORTS)), strict=True))
        print(json.dumps(make_config(ports, Path("/tmp/npserver-demo")), indent=2))
        return 0
    if words:
        print(f"npserver demo: unknown argument {clip(words[0])}, see npserver demo -help", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="npdemo") as directory:
        return asyncio.run(_run(Path(directory)))


async def _run(directory: Path) -> int:
    from npserver.config.load import load_text
    from npserver.observe import logs
    from npserver.process.single_process import SingleProcess

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    ports = await _start_samples(loop)
    ports |= {name: _free_port() for name in _PORTS if name not in ports}
    _write_files(directory)
    file = directory / "config.json"
    file.write_text(json.dumps(make_config(ports, directory), indent=2))
    document = load_text(file.read_text(), str(file))
    logs.configure(document.config.logging)
    single = SingleProcess(document)
    try:
        await single.start()
    except StartError as error:
        print(f"npserver demo: {error}: try again", file=sys.stderr)
        return 1
    print(_table(things_to_try(ports, directory), file), flush=True)
    await ended.wait()
    await single.stop(0)
    return 0


# ── config and commands ──

#: Names of the ports, the sample servers' and the listeners'.
_PORTS = ("app1", "app2", "app3", "tcp_echo", "udp_echo", "web", "tls", "tcp", "translate", "game", "dns", "scripts")


def make_config(ports: dict[str, int], directory: Path) -> dict[str, Any]:
    """Return the demo's config, which uses every handler."""
    return {
        "listen": [
            {"name": "web", "uri": f"http://127.0.0.1:{ports['web']}"},
            {"name": "tls", "uri": f"https://127.0.0.1:{ports['tls']}"},
            {"name": "local", "uri": f"unix://{directory}/web.sock"},
            {"name": "tcp", "uri": f"tcp://127.0.0.1:{ports['tcp']}"},
            {"name": "translate", "uri": f"tcp://127.0.0.1:{ports['translate']}"},
            {"name": "game", "uri": f"udp://127.0.0.1:{ports['game']}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{ports['dns']}"},
            {"name": "dns-tcp", "uri": f"tcp://127.0.0.1:{ports['dns']}"},
        ],
        "tls": {"cert": f"{directory}/demo.crt", "key": f"{directory}/demo.key"},
        "upstreams": {
            "apps": {
                "targets": [f"http://127.0.0.1:{ports[f'app{number + 1}']}" for number in range(APPS)],
                "balance": "round-robin",
                "health_check": {"path": "/healthz", "interval": 5},
            }
        },
        "dispatch": [
            {"handler": "static", "root": f"{directory}/public"},
            {"handler": "static", "path": "/photos/**", "root": f"{directory}/photos", "browse": True},
            {"handler": "proxy", "path": "/api/**", "proxy_pass": "upstream://apps"},
            {"handler": "proxy", "path": "/ws/**", "proxy_pass": "upstream://apps"},
            {
                "handler": "fastcgi",
                "path": "/scripts/**",
                "root": f"{directory}/scripts",
                "to": f"tcp://127.0.0.1:{ports['scripts']}",
            },
            {"handler": "redirect", "path": "/old", "to": "/"},
            {"handler": "respond", "path": "/hello", "body": "hello $client_ip\n"},
            {"handler": "status", "path": "/status"},
            {"listener": "tcp", "handler": "forward", "forward_to": f"tcp://127.0.0.1:{ports['tcp_echo']}"},
            {
                "listener": "translate",
                "handler": "forward",
                "forward_to": f"udp://127.0.0.1:{ports['udp_echo']}",
                "mode": "datagram",
            },
            {
                "listener": "game",
                "handler": "forward",
                "forward_to": f"tcp://127.0.0.1:{ports['tcp_echo']}",
                "mode": "stream",
            },
            {"listener": ["dns", "dns-tcp"], "handler": "dns"},
        ],
        "dns": {
            "web.demo": {"A": "127.0.0.1", "AAAA": "::1", "TXT": "npserver demo"},
            "app.demo": {"CNAME": "web.demo"},
            "demo": {"MX": {"priority": 10, "host": "web.demo"}, "NS": "web.demo"},
            "_http._tcp.demo": {"SRV": {"priority": 0, "weight": 1, "port": ports["web"], "target": "web.demo"}},
        },
    }


def things_to_try(ports: dict[str, int], directory: Path) -> list[tuple[str, str]]:
    """Return each feature of the demo with a command that shows it."""
    web = f"http://127.0.0.1:{ports['web']}"
    upgrade = (
        "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
        "-H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='"
    )
    return [
        ("a page, with a WebSocket in it", f"open {web}/ in a browser"),
        ("static file", f"curl -i {web}/"),
        ("compressed", f"curl -sI --compressed {web}/style.css"),
        ("byte range", f"curl -i -r 0-14 {web}/"),
        ("directory listing", f"curl {web}/photos/"),
        ("proxy, balanced over three apps", f"curl {web}/api/hello    # several times"),
        ("WebSocket, proxied", f"curl -isN -m 1 {upgrade} {web}/ws/echo"),
        ("script, by FastCGI", f"curl {web}/scripts/hello.php"),
        ("redirect", f"curl -i {web}/old"),
        ("fixed response", f"curl {web}/hello"),
        ("TLS", f"curl -k https://127.0.0.1:{ports['tls']}/hello"),
        ("HTTP over a Unix socket", f"curl --unix-socket {directory}/web.sock http://localhost/hello"),
        ("TCP forward", f"echo hello | nc -w 1 127.0.0.1 {ports['tcp']}"),
        ("TCP to UDP", f"echo hello | nc -w 1 127.0.0.1 {ports['translate']}"),
        ("UDP to TCP", f"(echo hello; sleep 1) | nc -u -w 1 127.0.0.1 {ports['game']}"),
        ("DNS", f"dig @127.0.0.1 -p {ports['dns']} app.demo +noall +answer"),
        ("DNS over TCP", f"dig @127.0.0.1 -p {ports['dns']} +tcp demo MX +short"),
        ("counters", f"curl '{web}/status?format=json'"),
    ]


def _table(rows: list[tuple[str, str]], file: Path) -> str:
    bold, dim, cyan, plain = (_BOLD, _DIM, _CYAN, _PLAIN) if wants_colour() and sys.stdout.isatty() else ("",) * 4
    width = max(len(what) for what, _ in rows)
    lines = [f"{bold}npserver demo{plain} {dim}config: {file}{plain}", ""]
    lines += [f"  {cyan}{what:<{width}}{plain}  {command}" for what, command in rows]
    return "\n".join([*lines, "", f"{dim}Press Ctrl-C to stop.{plain}", ""])


def _write_files(directory: Path) -> None:
    from npserver.cli.cert import write_certificate

    (directory / "public").mkdir()
    (directory / "public" / "index.html").write_text(_PAGE)
    (directory / "public" / "style.css").write_text(_STYLE)
    (directory / "photos").mkdir()
    for name in ("beach.txt", "forest.txt", "mountains.txt"):
        (directory / "photos" / name).write_text(f"imagine {name.removesuffix('.txt')} here\n")
    (directory / "scripts").mkdir()
    (directory / "scripts" / "hello.php").write_text("<?php echo 'hello';\n")
    write_certificate(["localhost", "127.0.0.1"], directory / "demo.crt", directory / "demo.key")


async def _start_samples(loop: asyncio.AbstractEventLoop) -> dict[str, int]:
    """Start the sample servers. Return their ports by name."""
    ports = {}
    for number in range(APPS):
        name = f"app{number + 1}"
        server = await loop.create_server(lambda name=name: HttpApp(name), "127.0.0.1", 0)  # type: ignore[misc]
        ports[name] = server.sockets[0].getsockname()[1]
    server = await loop.create_server(ScriptServer, "127.0.0.1", 0)
    ports["scripts"] = server.sockets[0].getsockname()[1]
    server = await loop.create_server(TcpEcho, "127.0.0.1", 0)
    ports["tcp_echo"] = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(UdpEcho, ("127.0.0.1", 0))
    ports["udp_echo"] = transport.get_extra_info("sockname")[1]
    return ports


def _free_port() -> int:
    """Return a port that is free for both TCP and UDP."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as stream:
            port = int(stream.getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                try:
                    datagram.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
