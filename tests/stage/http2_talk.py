"""An HTTP/2 client of the h2 library over a connected socket: requests one after the other, and WebSockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State


class Talk:
    """One connection of an HTTP/2 client, over a socket that is connected."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()

    def ask(self, path: str, pieces: int = 0) -> tuple[str, bytes]:
        """Return status and body. `pieces`: what is to be sent goes out in so many bytes at a time; 0: at once."""
        stream = self.http2.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "a.test"}
        self.http2.send_headers(stream, list(head.items()), end_stream=True)
        data = self.http2.data_to_send()
        for at in range(0, len(data), pieces or len(data)):
            self.socket.sendall(data[at : at + (pieces or len(data))])
        status, body = "", b""
        for event in self.events():
            if isinstance(event, h2.events.ResponseReceived):
                status = dict(event.headers)[":status"]  # type: ignore[arg-type]
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
            elif isinstance(event, h2.events.StreamEnded):
                break
        return status, body

    def events(self) -> Iterator[h2.events.Event]:
        """Yield events until the server has closed."""
        while data := self.socket.recv(65536):
            yield from self.http2.receive_data(data)
            self.socket.sendall(self.http2.data_to_send())


class WebSocket:
    """A WebSocket of the websockets library on a stream of its own (RFC 8441). Its messages are read with `recv`."""

    def __init__(self, talk: Talk, path: str, fields: dict[str, str] | None = None, early: str = "") -> None:
        """Ask for it and read the answer. `early`: a message that is sent before the answer has come."""
        self.talk = talk
        self.stream = talk.http2.get_next_available_stream_id()
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN)
        self.has_ended = False
        self.reset: int | None = None
        self._messages: list[Frame] = []
        head = {
            ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": path, ":authority": "a.test",
            "sec-websocket-version": "13", **(fields or {}),
        }  # fmt: skip
        talk.http2.send_headers(self.stream, list(head.items()))
        self.fields: dict[str, str] = {}
        if early:
            self.send(early)
        self._flush()
        self._read(lambda: bool(self.fields) or self.reset is not None)
        self.status = self.fields.get(":status", "")

    def send(self, message: str | bytes) -> None:
        """Send a message: as much as the windows allow at once, the rest as they open."""
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        for data in self.protocol.data_to_send():
            self._send(data)

    def recv(self) -> str | bytes:
        """Return the next message. Raises: EOFError if none is to come."""
        self._read(lambda: bool(self._messages) or self.has_ended or self.reset is not None)
        if not self._messages:
            raise EOFError
        frame = self._messages.pop(0)
        return frame.data.decode() if frame.opcode == Opcode.TEXT else bytes(frame.data)

    def end(self) -> None:
        """End the client's side."""
        self.talk.http2.end_stream(self.stream)
        self._flush()

    def wait_end(self) -> None:
        """Read until the server has ended or reset the stream."""
        self._read(lambda: self.has_ended or self.reset is not None)

    def _send(self, data: bytes) -> None:
        http2 = self.talk.http2
        while data:
            room = min(http2.local_flow_control_window(self.stream), http2.max_outbound_frame_size)
            if room <= 0:
                self._flush()
                self._read(lambda: http2.local_flow_control_window(self.stream) > 0)
                continue
            http2.send_data(self.stream, data[:room])
            data = data[room:]
        self._flush()

    def _flush(self) -> None:
        self.talk.socket.sendall(self.talk.http2.data_to_send())

    def _read(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            data = self.talk.socket.recv(65536)
            if not data:
                self.has_ended = True
                return
            for event in self.talk.http2.receive_data(data):
                self._take(event)
            self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if getattr(event, "stream_id", None) != self.stream:
            return
        if isinstance(event, h2.events.ResponseReceived):
            self.fields = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.talk.http2.acknowledge_received_data(event.flow_controlled_length, self.stream)
            if self.fields[":status"] == "200":
                self.protocol.receive_data(event.data)
                events = self.protocol.events_received()
                self._messages += [one for one in events if isinstance(one, Frame) and one.opcode != Opcode.CLOSE]
        elif isinstance(event, h2.events.StreamEnded):
            self.has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code)
