"""The look of every page that npserver itself shows: one style sheet, one mark, and the policy that allows no more.

Used by error pages, listings, the welcome page, the demo and the status page. Pages load nothing: style and script are
in them, and their Content-Security-Policy names these by their hashes (CSP3 §2.3.1). Colours are those of a light or a
dark screen, with a contrast of at least 4.5:1 (WCAG 2.2, 1.4.3). Pages of sites do not name npserver: `server_header`
may hide it.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

#: Colours and type, which all pages share.
BASE = (
    ":root{color-scheme:light dark;--ink:light-dark(#1b1f24,#e8eaed);--soft:light-dark(#57606a,#a3acb5);"
    "--ground:light-dark(#fff,#14171a);--card:light-dark(#f5f7f9,#1d2226);--line:light-dark(#d5dae0,#363d44);"
    "--link:light-dark(#0b5cad,#82bcff)}"
    "body{margin:0 auto;max-width:50rem;padding:1rem;background:var(--ground);color:var(--ink);"
    "font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}"
    "a{color:var(--link)}"
    '.mark:before{content:"";display:inline-block;width:.6em;height:.6em;margin-right:.4em;'
    "border-radius:50% 50% 50% 0;background:var(--link)}"
)
#: Of the pages that are npserver's own, and name it by `WORD_MARK`. What is good or bad has a sign besides its colour.
OWN = (
    ".mark{font:600 1rem ui-monospace,monospace;letter-spacing:-.03em}.mark span{font-weight:400;color:var(--soft)}"
    "h1{font-size:1.5rem;line-height:1.2}h2{font-size:1.1rem;margin:2rem 0 .5rem}"
    "code,pre{font:.9em ui-monospace,monospace;background:var(--card);border-radius:.2rem;padding:.1em .3em}"
    "pre{padding:.8rem;overflow:auto;white-space:pre-wrap}"
    "button,input{font:inherit;padding:.3rem .8rem;border:1px solid var(--link);border-radius:.4rem;background:none;"
    "color:var(--link);min-width:0}button{cursor:pointer}input{border-color:var(--line);color:inherit}"
    ":focus-visible{outline:2px solid var(--link);outline-offset:2px}"
    ":root{--good:light-dark(#1a7037,#6cd694);--bad:light-dark(#b42318,#ff9c92)}"
    ".soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}"
    '.good:before{content:"✓ "}.bad:before{content:"! "}'
)
_START = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><title>'
)
WORD_MARK = '<div class="mark">np<span>server</span></div>'


class Design:
    """The style and the script of one kind of page. `policy`: the value of Content-Security-Policy for it."""

    __slots__ = ("_end", "_middle", "has_form", "policy")

    def __init__(self, style: str = "", *, is_own: bool = False, script: str = "", has_form: bool = False) -> None:
        self.has_form = has_form
        css = BASE + (OWN if is_own else "") + style
        self._middle = f"</title><style>{css}</style></head>\n<body>"
        self._end = f"{f'<script>{script}</script>' if script else ''}</body></html>\n"
        scripts = f"script-src {_hash(script)}; connect-src 'self'; " if script else ""
        forms = "form-action 'self'; frame-ancestors 'self'" if has_form else "form-action 'none'"
        self.policy = f"default-src 'none'; style-src {_hash(css)}; {scripts}base-uri 'none'; {forms}"

    def page(self, title: str, body: str) -> str:
        """Return a page; both are HTML."""
        return f"{_START}{title}{self._middle}{body}{self._end}"

    @property
    def policy_line(self) -> bytes:
        """The policy as a field line."""
        return f"Content-Security-Policy: {self.policy}\r\n".encode()


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
