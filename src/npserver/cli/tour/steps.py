"""The steps of the demo's page: what each shows, the parts of the config that do it, a command, and its button.

A step's parts are found in the config that the server runs with: see `tour.excerpt`.
"""

from __future__ import annotations

from msgspec import Struct

from npserver.cli.tour import tries
from npserver.cli.tour.clients import Place
from npserver.cli.tour.samples import SLOW_S
from npserver.cli.tour.settings import PASSWORD, USER
from npserver.cli.tour.tries import Try

_UPGRADE = (
    "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
    "-H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='"
)


class Step(Struct, frozen=True):
    """One feature."""

    name: str  # in URLs
    title: str
    text: str
    #: Of the config: a section, or a rule (`dispatch`), listener or named entry of it.
    parts: tuple[tuple[str, str], ...]
    command: str  # for a terminal, with the placeholders of `command_of`
    run: Try
    link: str = ""  # a path to open in the browser


class Group(Struct, frozen=True):
    """Steps that belong together."""

    title: str
    steps: tuple[Step, ...]


def command_of(step: Step, place: Place) -> str:
    """Return the command of a step, to be run in a terminal."""
    values = {**place.ports, "web": place.web, "dir": place.directory}
    text = step.command
    for name, value in values.items():
        text = text.replace(f"<{name}>", str(value))
    return text


GROUPS = (
    Group(
        "Files",
        (
            Step(
                "files",
                "Files, ranges and caching",
                "A file has an ETag: a browser that has it is answered 304. Parts of it can be asked for.",
                (("dispatch", "/photos/**"),),
                "curl -i -r 0-6 <web>/photos/forest.txt",
                tries.files,
                "/photos/forest.txt",
            ),
            Step(
                "listing",
                "A directory as a page, or as JSON",
                "With browse, a directory without an index file is listed.",
                (("dispatch", "/photos/**"),),
                "curl <web>/photos/",
                tries.listing,
                "/photos/",
            ),
            Step(
                "compressed",
                "Compression",
                "The same file for clients that take no, one or another coding. It is on by default.",
                (("dispatch", "/**"),),
                "curl -sI --compressed <web>/style.css",
                tries.compressed,
            ),
        ),
    ),
    Group(
        "Proxy",
        (
            Step(
                "balanced",
                "Balancing",
                "Three copies of an app share the requests, each in its turn.",
                (("dispatch", "/api/**"), ("upstreams", "apps")),
                "curl <web>/api/hello    # several times",
                tries.balanced,
                "/api/hello",
            ),
            Step(
                "sticky",
                "Sticky clients",
                "A cookie keeps a client on the app that it has begun with.",
                (("dispatch", "/shop"), ("upstreams", "shops")),
                "curl -c jar -b jar <web>/shop    # several times",
                tries.sticky,
                "/shop",
            ),
            Step(
                "dead",
                "An app dies",
                "app2 is stopped for six seconds. Nobody notices: its requests go to the others at once, and the "
                "health checks find out when it is back. The status page tells of it.",
                (("upstreams", "apps"),),
                "watch -n 1 npserver status -config <dir>/config.json",
                tries.dead,
                "/status",
            ),
            Step(
                "drained",
                "Drain an app",
                "Before an app is updated it is drained: it gets no more requests, and none fails. "
                "The buttons of the status page do the same.",
                (("dispatch", "/status"),),
                "npserver drain 127.0.0.1:<app3> -config <dir>/config.json",
                tries.drained,
                "/status",
            ),
            Step(
                "cached",
                "Cache",
                f"The app takes {SLOW_S:g} seconds to answer, and says that the answer is good for ten. "
                "npserver keeps it.",
                (("dispatch", "/slow"),),
                "curl -i <web>/slow    # twice",
                tries.cached,
                "/slow",
            ),
            Step(
                "websocket",
                "WebSockets",
                "A chat: open this page in a second window, and talk to yourself.",
                (("dispatch", "/ws/**"),),
                f"curl -isN -m 1 {_UPGRADE} <web>/ws/chat",
                tries.websocket,
            ),
            Step(
                "scripts",
                "PHP, by FastCGI",
                "Scripts run in PHP-FPM, or in another server of FastCGI, as this sample is.",
                (("dispatch", "/scripts/**"),),
                "curl <web>/scripts/hello.php",
                tries.scripts,
                "/scripts/hello.php",
            ),
        ),
    ),
    Group(
        "Guards and answers",
        (
            Step(
                "limited",
                "Rate limit",
                "Five requests in ten seconds; who asks more often is told when to come again.",
                (("dispatch", "/limited"),),
                "for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{http_code} ' <web>/limited; done",
                tries.limited,
                "/limited",
            ),
            Step(
                "private",
                "Sign-in",
                f"A name and a password, both {USER}. The config has a hash of the password only.",
                (("dispatch", "/private"),),
                f"curl -u {USER}:{PASSWORD} <web>/private",
                tries.private,
                "/private",
            ),
            Step(
                "banned",
                "Bans",
                "A client that guesses passwords three times is banned for a minute: rules that deny it refuse "
                "whatever it asks for. Networks learn from scans, floods and broken handshakes, too.",
                (("networks", "banned"), ("dispatch", "/vault")),
                f"curl -i --interface {tries.GUESSER} -u demo:guess <web>/vault    # four times",
                tries.banned,
            ),
            Step(
                "fields",
                "A fixed answer, and fields that protect",
                "The body has variables. security_headers adds fields by which browsers protect the users of a site.",
                (("dispatch", "/hello"),),
                "curl -i <web>/hello",
                tries.fields,
                "/hello",
            ),
            Step(
                "errors",
                "Error pages",
                "In the form that the client asks for, and without details of the inside.",
                (("dispatch", "/broken"),),
                "curl -i <web>/broken",
                tries.errors,
                "/broken",
            ),
            Step(
                "redirected",
                "Redirect",
                "An old address leads to the new one.",
                (("dispatch", "/old"),),
                "curl -i <web>/old",
                tries.redirected,
                "/old",
            ),
        ),
    ),
    Group(
        "Other ways in",
        (
            Step(
                "secure",
                "TLS",
                "The certificate is self-signed here; with acme npserver gets one from a CA by itself.",
                (("listen", "tls"), ("tls", "")),
                "curl -k https://127.0.0.1:<tls>/hello",
                tries.secure,
            ),
            Step(
                "local",
                "HTTP over a Unix socket",
                "For clients on this machine.",
                (("listen", "local"),),
                "curl --unix-socket <dir>/web.sock http://localhost/hello",
                tries.local,
            ),
            Step(
                "tcp",
                "TCP",
                "Bytes are passed on as they come, to a server that echoes them.",
                (("listen", "tcp"), ("dispatch", "tcp")),
                "echo hello | nc -w 1 127.0.0.1 <tcp>",
                tries.streamed("tcp"),
            ),
            Step(
                "translate",
                "TCP to UDP",
                "What comes over TCP is sent on as datagrams.",
                (("listen", "translate"), ("dispatch", "translate")),
                "echo hello | nc -w 1 127.0.0.1 <translate>",
                tries.streamed("translate"),
            ),
            Step(
                "game",
                "UDP to TCP",
                "Each client of UDP has a connection to the server.",
                (("listen", "game"), ("dispatch", "game")),
                "(echo hello; sleep 1) | nc -u -w 1 127.0.0.1 <game>",
                tries.sent("game"),
            ),
            Step(
                "dns",
                "DNS",
                "A name server for zones of your own, over UDP and TCP.",
                (("listen", "dns"), ("dispatch", "dns"), ("dns", "")),
                "dig @127.0.0.1 -p <dns> app.demo +noall +answer",
                tries.looked_up,
            ),
        ),
    ),
    Group(
        "Look inside",
        (
            Step(
                "status",
                "Status",
                "Health, rates, times and errors, live; the same as JSON and for Prometheus.",
                (("dispatch", "/status"), ("metrics", "")),
                "curl '<web>/status?format=json'",
                tries.status,
                "/status",
            ),
            Step(
                "explain",
                "Ask why",
                "What the running server would do with a request, step by step, and the lines of the "
                "config that decide.",
                (("dispatch", "/api/**"),),
                "npserver explain <web>/api/hello -live -config <dir>/config.json",
                tries.explained,
            ),
            Step(
                "check",
                "Check the config",
                "All mistakes at once, each with its place. Change the file, and see: the server "
                "reads it again by itself.",
                (("logging", ""),),
                "npserver check -config <dir>/config.json",
                tries.checked,
            ),
            Step(
                "log",
                "Access log",
                "A line for each request; also as JSON, to syslog, with fields of your own.",
                (("logging", ""),),
                "tail <dir>/access.log",
                tries.log,
            ),
        ),
    ),
)
STEPS = {step.name: step for group in GROUPS for step in group.steps}
