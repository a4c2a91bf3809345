"""`npserver explain` says what the running server does: configs and questions made by chance, compared one by one.

The server runs in this process, on real sockets; clients have addresses of 127.0.0.0/8, of a PROXY header, or of the
fields of trusted proxies. `NPSERVER_EXPLAINED=5000` in the environment asks for so many questions.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest
import trustme

import npserver
from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.explain.engine import Explainer
from npserver.explain.explanation import Explanation
from npserver.explain.question import Question, parse_question
from npserver.process.explaining import explaining
from tests.stage.explained import steps
from tests.stage.explained_configs import CLIENTS, HOSTS, METHODS, NAMES, PATHS, TYPES, Chance
from tests.stage.explained_servers import Targets, client_hello, send_datagram, talk, targets
from tests.stage.program import Program

QUESTIONS = int(os.environ.get("NPSERVER_EXPLAINED", "300"))
PER_CONFIG = 100
OTHERS = ("198.51.100.7", "203.0.113.1", "10.0.0.1", "2001:db8::1")
UNANSWERED = "dropped"


class Server:
    """A running server, what explains its config, and what asks both."""

    def __init__(
        self, chance: Chance, explainer: Explainer, ports: dict[str, int], there: Targets, place: Path
    ) -> None:
        self._chance = chance
        self._explainer = explainer
        self._ports = ports
        self._names = {f"http://127.0.0.1:{port}": name for name, port in there.http.items()}
        self._names |= {f"tcp://127.0.0.1:{port}": name for name, port in there.tcp.items()}
        self._names |= {f"udp://127.0.0.1:{port}": name for name, port in there.udp.items()}
        self._names |= {f"udp://127.0.0.1:{port}": name for name, port in there.resolvers.items()}
        self._place = place
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        self.seen: Counter[str] = Counter()

    async def ask(self) -> str:
        """Ask a question; return how the server disagrees with the explanation, or ""."""
        kind = self._chance.random.choice(
            ["plain", "plain", "plain", "behind", "behind", "secure", "dns", "tcp", "udp"]
        )
        ask = {"dns": self._ask_name, "tcp": self._ask_stream, "udp": self._ask_datagram}.get(kind)
        difference = await ask() if ask is not None else await self._ask_web(kind)
        return f"{kind} {difference}" if difference else ""

    def _explain(self, ask: str, **options: Any) -> tuple[Question, Explanation]:
        question = parse_question(ask, **options)
        found = self._explainer.explain(question)
        self.seen[f"{question.kind.name} {found.gets or 'passed on'}"] += 1
        return question, found

    async def _ask_web(self, listener: str) -> str:
        choose = self._chance.random.choice
        client = choose(CLIENTS)
        host = choose(HOSTS)
        fields = self._chance.fields()
        sni = choose((host, *HOSTS)) if listener == "secure" else None
        who = choose((*CLIENTS, *OTHERS)) if listener == "behind" else client
        scheme = "https" if listener == "secure" else "http"
        ask = f"{scheme}://{choose((host, host.upper(), f'{host}:8080'))}{choose(PATHS)}"
        question, found = self._explain(
            ask, client=who, method=choose(METHODS), headers=fields, listener=listener, sni=sni
        )
        head = f"{question.method} {question.target} HTTP/1.1\r\nHost: {question.authority}\r\nConnection: close\r\n"
        head += "".join([f"{name}: {value}\r\n" for name, value in fields.items()]) + "\r\n"
        data = head.encode() + b"12345"[: int(fields.get("Content-Length", "0"))]
        if listener == "behind":
            family = "TCP6 {} ::1" if ":" in who else "TCP4 {} 127.0.0.1"
            data = f"PROXY {family.format(who)} 1234 80\r\n".encode() + data
        answer, certificate = await talk(
            self._ports[listener], client, data, tls=self._tls if sni is not None else None, sni=sni or ""
        )
        difference = self._compare_web(question, found, answer)
        if certificate and not difference:
            (step,) = steps(found, "certificate")
            shown = Path(step.split(" for ")[0]).read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
            if ssl.PEM_cert_to_DER_cert(shown) != certificate:
                difference = "another certificate"
        return f"{question.method} {ask} from {who} at {client} {fields}: {difference}\n{found}" if difference else ""

    def _compare_web(self, question: Question, found: Explanation, answer: bytes) -> str:
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1]) if lines[0] else 0
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if found.gets == "":
            return self._compare_passed(question, found, status, fields, body)
        if status != found.gets:
            return f"status {status}"
        if found.location and fields.get("location") != found.location:
            return f"location {fields.get('location')}"
        is_plain = question.method == "GET" and status == 200 and "content-encoding" not in fields
        if found.file and is_plain and body != Path(found.file).read_bytes():
            return "another file"
        shown = [one for step in steps(found, "response adds") for one in step.split("; ")]
        missing = [line for line in shown if line not in lines and not line.startswith("Vary")]
        return f"no field {missing}" if missing else ""

    def _compare_passed(
        self, question: Question, found: Explanation, status: int, fields: dict[str, str], body: bytes
    ) -> str:
        if status != 299:
            return f"status {status}"
        target = fields["x-target"]
        named = [self._names[uri] for uri in found.to if uri in self._names]
        if named and target not in named:
            return f"target {target}"
        if question.method == "HEAD":
            return ""
        sent = json.loads(body)["head"].split("\r\n")
        if sent[0] != steps(found, "sends")[0]:
            return f"sent {sent[0]}"
        added = [line for step in steps(found, "adds") for line in step.split("; ")]
        missing = [line for line in added if line not in sent and not (line.startswith("Host: ") and not named)]
        if missing:
            return f"sent without {missing}: {sent}"
        names = {line.partition(":")[0].lower() for line in sent[1:]}
        kept = [name for step in steps(found, "removes") for name in step.split(", ") if name.lower() in names]
        return f"sent with {kept}" if kept else ""

    async def _ask_name(self) -> str:
        choose = self._chance.random.choice
        name, rtype, client = choose(NAMES), choose(TYPES), choose(CLIENTS)
        _, found = self._explain(f"dns:{name} {rtype}", client=client, listener="dns")
        query = dns.message.make_query(name, rtype, use_edns=False)
        answer = dns.message.from_wire(await send_datagram(self._ports["dns"], client, query.to_wire()))
        records = sorted(line for rrset in answer.answer for line in rrset.to_text().split("\n"))
        if found.gets == "":
            expected = self._names[found.to[0]] + ".resolver.test."
            difference = "" if any(expected in record for record in records) else f"{records}"
        elif dns.rcode.to_text(answer.rcode()) != found.gets or records != sorted(found.records):
            difference = f"{dns.rcode.to_text(answer.rcode())} {records}"
        else:
            difference = ""
        return f"{name} {rtype} from {client}: {difference}\n{found}" if difference else ""

    async def _ask_stream(self) -> str:
        choose = self._chance.random.choice
        name, client = choose((*HOSTS, "")), choose(CLIENTS)
        _, found = self._explain("tcp://", client=client, sni=name, listener="tcp")
        hello = client_hello(name) if name else b"no TLS\r\n"
        answer, _ = await talk(self._ports["tcp"], client, hello)
        return self._compare_target(f"{name} from {client}", found, answer.decode())

    async def _ask_datagram(self) -> str:
        client = self._chance.random.choice(CLIENTS)
        _, found = self._explain("udp://", client=client, listener="udp")
        if found.gets:
            return ""  # nothing comes, and nothing tells that nothing will
        return self._compare_target(client, found, (await send_datagram(self._ports["udp"], client, b"x")).decode())

    def _compare_target(self, what: str, found: Explanation, banner: str) -> str:
        named = [self._names[uri] for uri in found.to if uri in self._names]
        is_right = not banner if found.gets == "closed" else banner in named if named else banner in ("one", "two")
        return "" if is_right else f"{what}: {banner or 'closed'}\n{found}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    """The files that the configs name."""
    found = tmp_path_factory.mktemp("agreeing")
    for name, hosts in (("home", ("a.home", "*.home")), ("example", ("c.example",))):
        issued = authority.issue_cert(*hosts)
        (found / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(found / f"{name}.key"))
    (found / "site" / "sub").mkdir(parents=True)
    for name in ("index.html", "page.html", "p.txt", "none.html", "sub/index.html", ".hidden"):
        (found / "site" / name).write_text(f"{name} " * 300)
    return found


@contextmanager
def made(seed: int, there: Targets, place: Path) -> Iterator[tuple[Chance, Any, Explainer]]:
    """Make a config without errors."""
    chance = Chance(seed, there)
    while True:
        config = chance.config()
        text = json.dumps(config, indent=1)
        (place / "config.json").write_text(text)
        document = load_text(text, str(place / "config.json"))
        try:
            with explaining(document) as explainer:
                yield chance, document, explainer
            return
        except ConfigError:
            continue


@pytest.mark.parametrize("seed", range(max(1, QUESTIONS // PER_CONFIG)))
async def test_the_server_does_what_is_explained(seed: int, place: Path) -> None:
    async with targets() as there:
        with made(seed, there, place) as (chance, document, explainer):
            async with npserver.serve(document) as running:
                ports = {name: address.port for name, address in running.addresses.items()}
                server = Server(chance, explainer, ports, there, place)
                differences = [found for _ in range(PER_CONFIG) if (found := await server.ask())]
    assert not differences, f"{len(differences)} of {PER_CONFIG}\n" + "\n\n".join(differences[:10])
    assert sum(server.seen.values()) == PER_CONFIG


async def test_the_program_with_two_workers_does_it_too(
    place: Path, program: Callable[..., Program], free_port: Callable[[], int]
) -> None:
    async with targets() as there:
        with made(7, there, place) as (chance, document, _):
            ports = {one.name: free_port() for one in document.config.listen}
            config = json.loads((place / "config.json").read_text().replace('"site', f'"{place}/site'))
            for entry in config["listen"]:
                entry["uri"] = entry["uri"].replace(":0", f":{ports[entry['name']]}")
            for entry in config["tls"]:
                entry |= {key: f"{place}/{value}" for key, value in entry.items() if value.startswith(("home", "exa"))}
            one = await asyncio.to_thread(program, config={**config, "workers": 2})
            assert one.config_file is not None
            with explaining(load_text(one.config_file.read_text(), str(one.config_file))) as explainer:
                server = Server(chance, explainer, ports, there, place)
                differences = [found for _ in range(PER_CONFIG) if (found := await server.ask())]
    assert not differences, "\n\n".join(differences[:10])
