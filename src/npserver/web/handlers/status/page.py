"""The status page: its sections in the order of what people look for first, and the look of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from npserver.web.design import WORD_MARK, Design
from npserver.web.handlers.status.history import COUNTERS
from npserver.web.handlers.status.live import BUTTON_SCRIPT, SCRIPT
from npserver.web.handlers.status.table import amount, chart, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npserver.observe.metrics import Sample
    from npserver.web.handlers.status.history import History

_STYLE = (
    "body{max-width:75rem}header{display:flex;flex-wrap:wrap;gap:.3rem 1.5rem;align-items:baseline}"
    ".error{color:var(--bad)}header p{color:var(--soft);margin:0}b.soft{font-weight:400}td b{white-space:nowrap}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}table+table{margin-top:1rem}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}"
    "th{color:var(--soft);font-weight:400}.n{font-variant-numeric:tabular-nums}"
    "th{overflow-wrap:normal}.n,td button{white-space:nowrap}td:first-child{font-weight:600}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem;padding:0;margin:1rem 0}"
    ".tiles li{list-style:none;background:var(--card);border-radius:.4rem;padding:.6rem .8rem;color:var(--soft)}"
    ".tiles b{display:block;font-size:1.6rem;line-height:1.2;color:var(--ink);font-variant-numeric:tabular-nums}"
    "svg{display:block;width:100%;max-width:14rem;min-width:5rem;height:1.5rem}td svg{height:1.2rem}"
    "polyline{fill:none;stroke:var(--link);stroke-width:1.5;vector-effect:non-scaling-stroke}"
    "summary{cursor:pointer;margin:2rem 0 .5rem}section:empty{display:none}"
    "@media(max-width:56rem){thead{position:absolute;clip-path:inset(50%)}"
    "tr{display:flex;flex-wrap:wrap;gap:0 .8rem;padding:.5rem 0;border-bottom:1px solid var(--line)}"
    "td{border:0;padding:0}td:first-child{flex-basis:100%}td:empty{display:none}"
    '.n:before{content:attr(data-h) " ";color:var(--soft)}}'
    "@media(min-width:120rem){:root{font-size:125%}body{max-width:none;padding:1rem 3rem}main{columns:2;gap:3rem}"
    "h1,#targets,#traffic,#counters{column-span:all}section{break-inside:avoid}h2{margin-top:1.2rem}}"
    "@media(min-width:160rem){:root{font-size:150%}}"
)
_SAID = '<p id="said" class="bad" role="alert"></p>'  # by a button
_BUTTON_STYLE = "td button{font-size:.8rem;padding:.1rem .6rem}#said:empty{display:none}"
LIVE = Design(_STYLE, is_own=True, script=SCRIPT)
STILL = Design(_STYLE, is_own=True)  # without live updates
LIVE_WITH_BUTTONS = Design(_STYLE + _BUTTON_STYLE, is_own=True, script=SCRIPT + BUTTON_SCRIPT, has_form=True)
STILL_WITH_BUTTONS = Design(_STYLE + _BUTTON_STYLE, is_own=True, has_form=True)

#: Titles of the sections, by their ids, in the order of the page.
TITLES = {
    "targets": "Targets", "traffic": "", "rules": "Rules", "errors": "Last warnings and errors",
    "certificates": "Certificates", "listeners": "Listeners and rules", "limits": "Limits and bans", "cache": "Cache",
    "workers": "Workers", "data": "", "counters": "",
}  # fmt: skip
_POINTS = 45  # of the charts of large numbers
_LIMITS = (
    "rate_limit",
    "max_requests",
    "networks_bans",
    "networks_lifted",
    "http_rejected",
    "bandwidth",
    "jwt",
    "forward_auth",
)
_HIDDEN = ("upstream_requests", "upstream_failures", "upstream_active", "upstream_health")  # in the table of targets


def render(design: Design, version: str, sections: Mapping[str, str]) -> str:
    """Return the page. `sections`: HTML by the keys of `TITLES`, of which empty ones are not shown, and `up`."""
    body = "\n".join(f'<section id="{name}">{sections.get(name, "")}</section>' for name in TITLES)
    return design.page(
        "npserver",
        f'<header>{WORD_MARK}<p>{escape(version)}, <span id="up">{sections["up"]}</span></p>'
        f'<p id="live" role="status"></p>{_SAID if design.has_form else ""}'
        f'<p><a href="?format=json">JSON</a> <a href="?format=prometheus">Prometheus metrics</a></p></header>'
        f"<main><h1>Status</h1>\n{body}</main>",
    )


def titled(sections: Mapping[str, str]) -> dict[str, str]:
    """Return the sections that have a content, each with its title before it."""
    return {
        name: f"<h2>{TITLES[name]}</h2>{content}" if TITLES.get(name) and content else content
        for name, content in sections.items()
    }


def tiles(samples: Sequence[Sample], history: History) -> str:
    """Return what goes on now in a few large numbers with charts; what has never been is left out."""
    dns = [name for name in COUNTERS if name.startswith("dns.")]
    rows = [
        ("requests per second", history.rates("http.requests", _POINTS), ""),
        ("errors (5xx) per second", history.rates("http.responses.5xx", _POINTS), ""),
        ("refused (4xx) per second", history.rates("http.responses.4xx", _POINTS), ""),
        ("sent per second", history.rates("http.sent_bytes", _POINTS), "B"),
        ("received per second", history.rates("http.received_bytes", _POINTS), "B"),
        ("forwards begun per second", history.rates("forward.sessions", _POINTS), ""),
        ("forwarded per second", history.rates("forward.sent_bytes", _POINTS), "B"),
        ("DNS queries per second", history.sum_rates(dns, _POINTS), ""),
    ]
    shown = [
        f"<li><b>{amount(_recent(values))}{unit}</b>{what}{chart(values, what, unit)}</li>"
        for what, values, unit in rows
        if any(values)
    ]
    now = {"npserver_http_connections": "connections", "npserver_quic_connections": "connections of HTTP/3",
           "npserver_forward_sessions": "forwards", "npserver_dns_connections": "DNS connections"}  # fmt: skip
    shown += [
        f"<li><b>{sample.value:,}</b>{now[sample.family.name]} open</li>"
        for sample in samples
        if sample.family.name in now and sample.value > 0
    ]
    return f'<ul class="tiles">{"".join(shown)}</ul>' if shown else ""


def limit_table(samples: Sequence[Sample]) -> str:
    """Return what limits, bans and sign-in have refused."""
    return _counter_table([one for one in samples if _is_of(one, _LIMITS)], 2_500)


def cache_table(samples: Sequence[Sample]) -> str:
    """Return what caches hold and have done."""
    return _counter_table([one for one in samples if _is_of(one, ("cache_",))], 1_500)


def all_counters(samples: Sequence[Sample]) -> str:
    """Return all counters that are not zero and in no other section."""
    shown = _counter_table([one for one in samples if not _is_of(one, (*_LIMITS, *_HIDDEN, "cache_"))], 4_000)
    return f"<details><summary>All counters</summary>{shown}</details>" if shown else ""


def _counter_table(samples: Sequence[Sample], budget: int) -> str:
    rows = [
        (one.family.help, " ".join(value for _, value in one.labels), int(one.value)) for one in samples if one.value
    ]
    return table(("what", "of", "number"), rows, budget)


def _is_of(sample: Sample, names: tuple[str, ...]) -> bool:
    return sample.family.name.removeprefix("npserver_").startswith(names)


def _recent(values: Sequence[float]) -> float:
    """Return the mean of the last values: a single one jumps."""
    last = values[-2:]
    return sum(last) / len(last)
