"""The status page, live: a stream of server-sent events for each viewer.

An event is a JSON object with the sections that have changed, as HTML by their ids
(https://html.spec.whatwg.org/multipage/server-sent-events.html). Streams end at a shutdown, so that it need not wait
for them, and at a reload: the browser comes again, and is answered by the rule that there is then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.json import encode

from npserver.runtime.compilation import REPLACED

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange

PERIOD_S = 2.0
FIELDS = (
    b"Content-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    b"X-Accel-Buffering: no\r\n"  # for nginx before this server
)
VIEWERS = "gauge.status.viewers"  # the slot

#: Of the page: shows the events; waits while the reader selects text, and does nothing in a hidden tab.
SCRIPT = """
const said=document.getElementById('live');let stream,later,waiting={};
const show=()=>{if(!getSelection().isCollapsed)return;
for(const id in waiting){const at=document.getElementById(id);if(!at)continue;
const open=at.querySelector('details')?.open,active=document.activeElement,focus=at.contains(active);
at.innerHTML=waiting[id];
if(open)at.querySelector('details')?.setAttribute('open','');
if(focus)(active.value?at.querySelector(`button[value="${CSS.escape(active.value)}"]`):at.querySelector('summary'))?.focus()}
waiting={}};
const tell=text=>{if(said.textContent!==text)said.textContent=text};
const start=()=>{clearTimeout(later);stream?.close();stream=new EventSource('?format=events');
stream.onmessage=event=>{Object.assign(waiting,JSON.parse(event.data));show();tell('live')};
stream.onerror=()=>{tell('not live');if(stream.readyState===2)later=setTimeout(start,15000)}};
document.addEventListener('visibilitychange',()=>{if(document.hidden){clearTimeout(later);stream.close()}else start()});
start();
"""

#: Of a page with buttons: sends the form without leaving the page. A button that has worked becomes its
#: opposite at once.
BUTTON_SCRIPT = """
const REFUSED='Refused. Load the page again; the name in the address bar must be in "host" of the rule, '+
'or an IP address. The log says more.';
const answer=document.getElementById('said');let isBusy=false;
document.addEventListener('submit',async event=>{event.preventDefault();if(isBusy)return;
const button=event.submitter,body=new URLSearchParams(new FormData(event.target,button));
isBusy=true;answer.textContent='';let fault;
try{const told=await fetch(location.pathname,{method:'POST',headers:{Accept:'application/json'},body});
fault=told.status===403?REFUSED:(await told.json()).error}
catch{fault='the server cannot be reached'}
answer.textContent=fault||'';isBusy=false;
if(!fault)button.textContent=button.name=button.name==='drain'?'undrain':'drain'});
"""


class Stream:
    """The stream of one viewer; a `web.exchange.ResponseSource`, watched by the deadline sweeper."""

    __slots__ = ("_context", "_due_at", "_exchange", "_is_paused", "_sections", "_sent", "_slot", "deadline")

    def __init__(self, exchange: Exchange, sections: Callable[[], dict[str, str]], slot: int) -> None:
        """`sections`: returns them as they are now; `slot`: of `VIEWERS`, in which the stream is counted already."""
        self._exchange = exchange
        self._context: Context = exchange.context
        self._sections = sections
        self._sent: dict[str, str] = {}
        self._slot = slot
        self._is_paused = False
        self._due_at = 0.0
        self.deadline = 0.0  # always passed: a shutdown is noticed at the next sweep

    def start(self) -> None:
        """Begin with all sections."""
        exchange = self._exchange
        exchange.watch_end(self._ended)
        REPLACED.of(self._context).add(self.end)
        self._context.sweeper.watched.add(self)
        exchange.start(200, FIELDS, None, self)
        exchange.write(b"retry: 1000\n\n")
        self.expire(self._context.loop.time())

    def expire(self, now: float) -> None:
        """Send what has changed; called at each sweep."""
        if self._context.draining:
            self.end()
            return
        if self._is_paused or now < self._due_at:
            return
        self._due_at = now + PERIOD_S - 0.1
        sections = self._sections()
        changed = {name: text for name, text in sections.items() if self._sent.get(name) != text}
        self._sent = sections
        self._exchange.write(b"data: %b\n\n" % encode(changed) if changed else b": nothing new\n\n")
        self._exchange.flush()

    def end(self) -> None:
        """End the stream; the browser comes again after a second."""
        self._exchange.finish()

    def pause(self) -> None:
        """Send nothing: the client does not keep up."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on at the next sweep, with what has changed since."""
        self._is_paused = False

    def cancel(self) -> None:
        """The client is gone: `_ended` follows."""

    def _ended(self) -> None:
        self._context.sweeper.watched.discard(self)
        REPLACED.of(self._context).discard(self.end)
        self._context.row.slots[self._slot] -= 1


def claim(context: Context, slot: int, limit: int) -> bool:
    """Count one more viewer over all workers, unless there are `limit`."""
    slots, board = context.row.slots, context.row.board
    slots[slot] += 1
    if board.total(slot) > limit:
        slots[slot] -= 1
        return False
    return True
