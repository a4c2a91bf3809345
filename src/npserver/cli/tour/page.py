"""The demo's page: each step with its button, its result in place, and the part of the config that does it.

With scripts, results come in place and the chat works; without, each button is a form that loads the page again.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from npserver.cli.tour.steps import GROUPS, Step, command_of
from npserver.web.design import WORD_MARK, Design

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npserver.cli.tour.clients import Outcome, Place
    from npserver.cli.tour.excerpt import Excerpts

_MAX_BODY = 2_000  # characters that are shown

_STYLE = (
    ":root{scroll-behavior:smooth}body{max-width:75rem}.fact{color:var(--soft)}"
    "header p{max-width:45rem}nav{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;align-items:baseline;"
    "position:sticky;top:0;padding:.7rem 0;background:var(--ground);border-bottom:1px solid var(--line);z-index:1}"
    "h2{font-size:1.4rem;margin:2.5rem 0 0;scroll-margin-top:4rem}h3{font-size:1.05rem;margin:0}"
    "article{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:.5rem 2rem;padding:1.5rem 0;"
    "border-bottom:1px solid var(--line);scroll-margin-top:4rem}article p{margin:.3rem 0 .8rem}"
    "pre{margin:.3rem 0;font-size:.82rem;line-height:1.45;border-radius:.4rem}"
    "pre i{font-style:normal;color:var(--link)}pre i[title]{cursor:help}[hidden]{display:none!important}"
    "[data-step] button{background:var(--link);color:var(--ground)}button:disabled{opacity:.5;cursor:progress}"
    "form{display:inline}form+a{margin-left:1rem}"
    ".result{list-style:none;margin:.8rem 0 0;padding:0}.result li{padding:.3rem 0;border-top:1px solid var(--line)}"
    ".result code{background:none;padding:0}.result .fact{display:block;font-size:.85rem}.result pre{max-height:20rem}"
    ".chat{display:flex;gap:.5rem;margin-top:.8rem}.chat input{flex:1}#said{max-height:10rem}#said:empty{display:none}"
    "summary{cursor:pointer;font-size:.9rem;color:var(--soft)}dl{font-size:.85rem;margin:.5rem 0}dt{font-weight:600}"
    "dd{margin:0 0 .4rem;color:var(--soft)}.command{margin-top:.8rem}"
    "@media(max-width:52rem){article{grid-template-columns:minmax(0,1fr)}nav{position:static}}"
)
_SCRIPT = """
const chat=document.getElementById('chat'),said=document.getElementById('said'),all=document.getElementById('all');
const attempt=async form=>{const button=form.querySelector('button');
const at=document.getElementById('result-'+form.dataset.step);
button.disabled=true;let text;
try{text=await(await fetch(form.action,{method:'POST',headers:{Accept:'text/x-part'}})).text()}
catch{text='<p class="bad">The demo has ended.</p>'}
at.innerHTML=text;button.disabled=false;button.textContent='Try again'};
document.addEventListener('submit',async event=>{event.preventDefault();const form=event.target;
if(form.dataset.step)attempt(form)});
all.hidden=false;
all.onclick=async()=>{all.disabled=true;
for(const form of document.querySelectorAll('form[data-step]'))await attempt(form);
all.disabled=false;all.textContent='Everything tried'};
let socket;const show=text=>{said.textContent+=text+'\\n';said.scrollTop=said.scrollHeight};
const open=()=>{socket=new WebSocket(location.origin.replace('http','ws')+'/ws/chat');
socket.onmessage=event=>show(event.data);socket.onclose=()=>{show('(closed)');socket=null}};
chat.hidden=false;
chat.onsubmit=()=>{const text=chat.elements.text.value;chat.elements.text.value='';
if(!socket){open();socket.onopen=()=>socket.send(text)}else socket.send(text)};
"""
DESIGN = Design(_STYLE, is_own=True, script=_SCRIPT, has_form=True)

_CHAT = (
    '<form id="chat" class="chat" hidden><input name="text" value="hello" aria-label="message">'
    '<button>Say</button></form><pre id="said" role="log"></pre>'
)


def render(place: Place, excerpts: Excerpts, results: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the page. `results`: of the steps that were tried, by their names."""
    links = " ".join(f'<a href="#{_anchor(group.title)}">{group.title}</a>' for group in GROUPS)
    fault = f'<p class="bad">The config cannot be read: {escape(excerpts.fault)}</p>' if excerpts.fault else ""
    groups = "".join(
        f'<h2 id="{_anchor(group.title)}">{group.title}</h2>'
        + "".join(_step(step, place, excerpts, results.get(step.name, ())) for step in group.steps)
        for group in GROUPS
    )
    return DESIGN.page(
        "npserver demo",
        f"<header>{WORD_MARK}<h1>A tour of npserver</h1>"
        "<p>Each button sends real requests to this server, and shows what comes back. With it stands the part of "
        f"the config that does it, as it is in <code>{escape(place.config_file)}</code> now: change the file, and the "
        f"server follows. A key explains itself when you point at it.</p>{fault}</header>"
        f'<nav>{links} <a href="/status">Status page</a> '
        '<button id="all" type="button" hidden>Try everything</button></nav>'
        f"<main>{groups}</main>",
    )


def result(outcomes: Sequence[Outcome]) -> str:
    """Return what came back, as HTML; "" for nothing."""
    return f'<ul class="result">{"".join(map(_outcome, outcomes))}</ul>' if outcomes else ""


def _step(step: Step, place: Place, excerpts: Excerpts, outcomes: Sequence[Outcome]) -> str:
    link = f'<a href="{step.link}" target="_blank">open {step.link}</a>' if step.link else ""
    name, command = step.name, escape(command_of(step, place))
    return (
        f'<article id="{name}"><div><h3>{step.title}</h3><p>{step.text}</p>'
        f'<form method="post" action="/try/{name}#{name}" data-step="{name}"><button>Try it</button></form>'
        f"{link}{_CHAT if name == 'websocket' else ''}"
        f'<div id="result-{name}" aria-live="polite">{result(outcomes)}</div></div>'
        f'<div>{excerpts.html(step.parts)}<pre class="command">$ {command}</pre></div></article>'
    )


def _outcome(one: Outcome) -> str:
    took = f' <span class="soft">{_shown_ms(one.took_ms)}</span>' if one.took_ms else ""
    facts = "".join(f'<span class="fact">{escape(name)}: {escape(value)}</span>' for name, value in one.fields)
    body = one.body if len(one.body) <= _MAX_BODY else f"{one.body[:_MAX_BODY]}…"
    shown = f"<pre>{escape(body)}</pre>" if body else ""
    kind = "good" if one.is_good else "bad"
    return f'<li><code>{escape(one.sent)}</code> <b class="{kind}">{escape(one.answer)}</b>{took}{facts}{shown}</li>'


def _shown_ms(took_ms: float) -> str:
    return f"{took_ms:.1f} ms" if took_ms < 10 else f"{took_ms:.0f} ms"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
