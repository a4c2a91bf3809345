"""The page that a listener shows when nothing says what to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.serve.exchange import Exchange

_FIELDS = (
    b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
)
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>npserver is running</title>
<style>
:root{color-scheme:light dark}
body{font:1rem/1.6 system-ui,sans-serif;max-width:38rem;margin:0 auto;padding:10vh 1rem}
h1{font-weight:600;font-size:1.6rem}
code{background:#8882;border-radius:.3rem;padding:.1rem .3rem}
pre{background:#8882;border-radius:.5rem;padding:1rem;overflow-x:auto}
pre code{background:none;padding:0}
</style></head>
<body><h1>npserver is running</h1>
<p>There is nothing to serve yet. Put files into a directory <code>public</code> beside the config, or in the working
directory, and start again; or name another directory:</p>
<pre><code>npserver http://:8080 -root /var/www/site</code></pre>
<p>For a reverse proxy, forwarding, DNS and the rest, write a config file:</p>
<pre><code>{
  "listen": ["http://:8080"],
  "dispatch": [
    { "handler": "static", "root": "./public" },
    { "handler": "proxy", "path": "/api/**",
      "proxy_pass": "http://127.0.0.1:8000" }
  ]
}</code></pre>
<p><code>npserver check</code> says what is wrong with it, <code>npserver demo</code> shows everything at work.</p>
</body></html>
"""


class WelcomeHandler:
    """Shows the welcome page at `/`, and nothing else."""

    __slots__ = ()

    def handle(self, exchange: Exchange) -> None:
        """Answer with the page, or 404."""
        if exchange.request.method not in ("GET", "HEAD"):
            exchange.fail(405, fields=b"Allow: GET, HEAD\r\n")
        elif exchange.request.path == "/":
            exchange.respond(200, _FIELDS, _PAGE)
        else:
            exchange.fail(404)
