"""Binding: which sockets a listener gets, and what is said when it gets none.

Covers `listen.port_owner` and `listen.unix_socket`.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from npserver.address import Address, parse_listen
from npserver.errors import StartError
from npserver.listen import binding, inet_sockets
from npserver.listen.binding import Binding, bind
from npserver.listen.listener import Listener

linux = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT balances on Linux only")


def listener(uri: str, mode: int | None = None, backlog: int = 64) -> Listener:
    return Listener(uri, "web", parse_listen(uri), backlog, "npserver.json:3:15", mode)


@pytest.fixture
def bound() -> Iterator[Callable[..., Binding]]:
    opened: list[Binding] = []

    def make(uri: str, workers: int = 1, **options: object) -> Binding:
        opened.append(bind(listener(uri), workers, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def port_of(one: Binding) -> int:
    return one.addresses[0].port


class TestQuic:
    """Datagrams of a client have to come to one worker."""

    def bound(self, workers: int) -> Binding:
        address = Address("quic", "127.0.0.1", 0)
        return bind(Listener("quic", "web", address, 16, "test"), workers)

    @linux
    def test_workers_have_sockets_of_their_own_and_ways_to_the_others(self) -> None:
        made = self.bound(2)
        (first, *_), (second, *_) = made.sockets
        assert first.getsockname() == second.getsockname()
        assert [len(one) for one in made.sockets] == [4, 4]  # UDP, our receiver, a sender to each
        made.close()

    def test_one_worker_has_a_socket_of_the_service_manager(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inherited:
            inherited.bind(("127.0.0.1", 0))
            address = Address("quic", "127.0.0.1", inherited.getsockname()[1])
            made = bind(Listener("quic", "web", address, 16, "test"), 2, inherited=[inherited])
            assert made.sockets == [(inherited,), ()]

    def test_one_worker_has_the_only_socket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inet_sockets, "BALANCES_PORTS", False)
        made = self.bound(3)
        assert [len(one) for one in made.sockets] == [1, 0, 0]
        assert len(made.addresses) == 1
        made.close()


class TestInet:
    @linux
    @pytest.mark.parametrize("scheme", ["tcp", "udp"])
    def test_each_worker_gets_a_socket_and_a_share(self, bound: Callable[..., Binding], scheme: str) -> None:
        one = bound(f"{scheme}://127.0.0.1:0", 3)
        sockets = [group[0] for group in one.sockets]
        assert len(set(sockets)) == 3
        assert {each.getsockname() for each in sockets} == {("127.0.0.1", port_of(one))}
        kind = socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM
        callers = []
        for _ in range(90):
            caller = socket.socket(socket.AF_INET, kind)
            caller.connect(("127.0.0.1", port_of(one)))
            if scheme == "udp":
                caller.send(b"x")
            callers.append(caller)
        taken: Counter[int] = Counter()
        for number, each in enumerate(sockets):
            try:
                while True:
                    if scheme == "tcp":
                        each.accept()[0].close()
                    else:
                        each.recv(8)
                    taken[number] += 1
            except BlockingIOError:
                pass
        for caller in callers:
            caller.close()
        assert sum(taken.values()) == 90
        assert all(taken[number] > 0 for number in range(3))

    def test_one_socket_for_all_where_the_kernel_does_not_balance(
        self, bound: Callable[..., Binding], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inet_sockets, "BALANCES_PORTS", False)
        one = bound("tcp://127.0.0.1:0", 3)
        assert len({group[0] for group in one.sockets}) == 1

    def test_no_host_is_ipv4_and_ipv6(self, bound: Callable[..., Binding]) -> None:
        one = bound("http://:0", 2)
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port_of(one)), 30).close()
        assert str(one.addresses[0]) == f"http://:{port_of(one)}"

    def test_without_ipv6_no_host_is_ipv4(self, bound: Callable[..., Binding], monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.socket

        def without_ipv6(family: int = -1, *rest: int, **options: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            return real(family, *rest, **options)

        monkeypatch.setattr(binding.socket, "socket", without_ipv6)
        one = bound("http://:0", 2)
        socket.create_connection(("127.0.0.1", port_of(one)), 30).close()

    def test_ipv6_address_is_ipv6_only(self, bound: Callable[..., Binding]) -> None:
        one = bound("http://[::]:0")
        socket.create_connection(("::1", port_of(one)), 30).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(one)), 30)

    def test_ipv6_alone_and_ipv4_alone_share_a_port(
        self, bound: Callable[..., Binding], free_port: Callable[[], int]
    ) -> None:
        port = free_port()
        both = {"::1": bound(f"http://[::]:{port}"), "127.0.0.1": bound(f"http://0.0.0.0:{port}")}
        for host, one in both.items():
            with socket.create_connection((host, port), 30) as client:
                taken, peer = one.sockets[0][0].accept()
                assert peer[:2] == client.getsockname()[:2]
                taken.close()

    def test_host_name_listens_on_all_its_addresses(
        self, bound: Callable[..., Binding], free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

        def resolve(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            return [(*entry[:4], (entry[4][0], port, *entry[4][2:])) for entry in found]

        monkeypatch.setattr(binding.socket, "getaddrinfo", resolve)
        port = free_port()
        one = bound(f"http://both.test:{port}", 2)
        assert [str(address) for address in one.addresses] == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
        assert all(len(group) == 2 for group in one.sockets)

    def test_a_socket_listens_with_its_backlog(self, bound: Callable[..., Binding]) -> None:
        one = bound("tcp://127.0.0.1:0")
        assert one.sockets[0][0].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1

    def test_sockets_do_not_block(self, bound: Callable[..., Binding]) -> None:
        one = bound("udp://127.0.0.1:0", 2)
        assert all(not each.getblocking() for group in one.sockets for each in group)

    @linux
    def test_own_port_is_shared_with_another_address(self, bound: Callable[..., Binding]) -> None:
        port = port_of(bound("http://:0", 2))
        bound(f"http://127.0.0.1:{port}", 2, own_ports={port})


class TestFailures:
    @pytest.mark.parametrize("scheme", ["http", "udp"])
    @pytest.mark.parametrize("workers", [1, 2])
    def test_port_in_use_even_by_a_sharing_socket(
        self, bound: Callable[..., Binding], scheme: str, workers: int
    ) -> None:
        port = port_of(bound(f"{scheme}://127.0.0.1:0", 2))
        with pytest.raises(StartError) as raised:
            bound(f"{scheme}://127.0.0.1:{port}", workers)
        what = "port" if scheme == "http" else "UDP port"  # of HTTP/3 the TCP port may well be free
        assert str(raised.value) == (
            f"listener 'web' (npserver.json:3:15): {what} {port} is in use: end that program, or choose another port"
        )

    @linux
    def test_port_in_use_names_the_program(self, bound: Callable[..., Binding], backends: object) -> None:
        import subprocess

        code = (
            "import socket,sys; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True);input()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
            assert other.stdout is not None
            port = int(other.stdout.readline())
            with pytest.raises(StartError, match=rf"port {port} is in use by python\S* \(pid {other.pid}\):"):
                bound(f"http://127.0.0.1:{port}")
            other.communicate(b"\n")

    def test_nothing_stays_open(self, bound: Callable[..., Binding]) -> None:
        port = port_of(bound("http://127.0.0.1:0"))
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        with pytest.raises(StartError):
            bound(f"http://127.0.0.1:{port}", 4)
        after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        assert after == before

    def test_an_address_of_another_machine_is_told(self, bound: Callable[..., Binding]) -> None:
        with pytest.raises(StartError, match=r"192\.0\.2\.1 is not an address of this machine: `ip address`"):
            bound("http://192.0.2.1:8080")

    def test_an_unknown_host_is_told(self, bound: Callable[..., Binding], monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(binding.socket, "getaddrinfo", unknown)
        with pytest.raises(StartError, match=r"no address found for host 'nowhere\.test'"):
            bound("http://nowhere.test:8080")

    def test_a_privileged_port_is_told(self) -> None:
        text = binding.explain(PermissionError(13, "Permission denied"), parse_listen("http://:80"))
        assert text.startswith("port 80 needs privileges: run as root")


class TestUnix:
    def test_file_comes_and_goes(self, socket_dir: Path) -> None:
        path = socket_dir / "a.sock"
        one = bind(listener(f"unix://{path}", mode=0o660), 2)
        assert one.sockets[0] == one.sockets[1]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
        one.close()
        assert not path.exists()

    def test_another_ones_file_stays(self, socket_dir: Path) -> None:
        path = socket_dir / "a.sock"
        one = bind(listener(f"unix://{path}"), 1)
        path.unlink()
        other = bind(listener(f"unix://{path}"), 1)
        one.close()
        assert path.exists()
        other.close()

    @pytest.mark.parametrize("scheme", ["unix", "unixgram"])
    def test_stale_file_is_replaced(self, socket_dir: Path, scheme: str) -> None:
        path = socket_dir / "a.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if scheme == "unix" else socket.SOCK_DGRAM) as dead:
            dead.bind(str(path))
        bind(listener(f"{scheme}://{path}"), 1).close()

    @pytest.mark.parametrize(("first", "second"), [("unix", "unix"), ("unixgram", "unixgram"), ("unix", "unixgram")])
    def test_answered_file_is_left_alone(self, socket_dir: Path, first: str, second: str) -> None:
        path = socket_dir / "a.sock"
        one = bind(listener(f"{first}://{path}"), 1)
        with pytest.raises(StartError, match=f"another program listens on {path}: end it, or choose another path"):
            bind(listener(f"{second}://{path}"), 1)
        assert path.exists()
        one.close()

    def test_ordinary_file_is_left_alone(self, socket_dir: Path) -> None:
        path = socket_dir / "a.sock"
        path.write_text("precious")
        with pytest.raises(StartError, match="exists and is not a socket: remove it"):
            bind(listener(f"unix://{path}"), 1)
        assert path.read_text() == "precious"

    def test_a_missing_directory_is_told(self, socket_dir: Path) -> None:
        with pytest.raises(StartError, match=f"directory {socket_dir}/none does not exist: create it"):
            bind(listener(f"unix://{socket_dir}/none/a.sock"), 1)

    def test_mode_changes_with_a_newer_config(self, socket_dir: Path) -> None:
        path = socket_dir / "a.sock"
        one = bind(listener(f"unix://{path}", mode=0o600), 1)
        one.relisten(listener(f"unix://{path}", mode=0o666, backlog=128))
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        one.close()


class TestInherited:
    def test_matching_socket_is_adopted(self, bound: Callable[..., Binding]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as other:
            port = ours.getsockname()[1]
            one = bound(f"http://127.0.0.1:{port}", 2, inherited=[other, ours])
            assert one.sockets == [(ours,), (ours,)]

    def test_file_of_an_adopted_socket_stays(self, socket_dir: Path) -> None:
        path = socket_dir / "a.sock"
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(str(path))
            bind(listener(f"unix://{path}"), 1, inherited=[ours]).close()
        assert path.exists()
