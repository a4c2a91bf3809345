"""The keys of handler `fastcgi`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import NO_LIMIT, D, OneOrMany
from npserver.config.units import Seconds, Size
from npserver.upstream.config import Balance
from npserver.web.config import Compression, HttpRule
from npserver.web.handlers.proxy.config import RequestBuffering, ResponseBuffering, UpstreamTimeouts


class FastcgiRule(HttpRule, tag_field="handler", tag="fastcgi", frozen=True, kw_only=True):
    """Run PHP or other scripts by a FastCGI server, and serve the files beside them."""

    to: Annotated[
        str,
        D("FastCGI server: `unix:///run/php/php-fpm.sock`, `tcp://host:9000` or `upstream://name`", needs="upstreams"),
    ]
    root: Annotated[
        str, D("directory with the scripts and files; the rule's path prefix is removed from the request path first")
    ] = "./public"
    script_root: Annotated[
        str | None,
        D("the same directory as the FastCGI server sees it, in a container or chroot of its own; default: `root`"),
    ] = None
    index: Annotated[OneOrMany, D("scripts and files for a directory; the first that exists is used")] = field(
        default_factory=lambda: ["index.php", "index.html"]
    )
    fallback: Annotated[
        str | None,
        D("script below `root` for paths that no file has (front controller); null: they are answered with 404"),
    ] = "index.php"
    split: Annotated[
        OneOrMany,
        D(
            "endings of scripts: a path is split after the first script that exists, and the rest is its `PATH_INFO`; "
            "files with these endings are never sent as they are"
        ),
    ] = ".php"
    env: Annotated[
        dict[str, str],
        D("variables for the scripts, besides those of CGI and in place of them, with `$variables`", secret=True),
    ] = {}
    max_error_output: Annotated[
        Size, D("bytes of each request's error output (FCGI_STDERR) that go into the log", zero="none")
    ] = Size(4096)
    timeout: Annotated[Seconds | None, D("sets both `timeouts.response` and `timeouts.read`", zero=NO_LIMIT)] = None
    timeouts: Annotated[UpstreamTimeouts, D("time limits for the FastCGI server")] = UpstreamTimeouts()
    balance: Annotated[Balance | None, D("load-balancing method; default: the upstream's")] = None
    retries: Annotated[
        int | None,
        D("number of further targets tried for one request; default: the upstream's", ge=0, le=100, zero="none"),
    ] = None
    keepalive: Annotated[
        bool,
        D("keep connections for later requests (FCGI_KEEP_CONN); each keeps a process of PHP-FPM busy"),
    ] = False
    keepalive_time: Annotated[
        Seconds,
        D(
            "time after which a connection is closed, so that processes of PHP-FPM come free for other workers",
            zero=NO_LIMIT,
        ),
    ] = Seconds(1)
    keepalive_pool_size: Annotated[
        int | None,
        D("maximum number of idle connections kept, per target and worker; default: the upstream's", ge=0, zero="none"),
    ] = None
    buffer_size: Annotated[Size, D("bytes buffered per direction before reading from the sender is paused")] = Size(
        64 << 10
    )
    request_buffering: Annotated[
        bool | RequestBuffering,
        D(
            "receive the whole request body before a target is chosen; bodies of up to `buffer_size`, and those whose "
            "length is not known before, are always received whole"
        ),
    ] = False
    response_buffering: Annotated[
        bool | ResponseBuffering,
        D("take responses as fast as the script writes, and keep what the client has not read yet"),
    ] = False
    gzip: Annotated[
        bool | Compression | None,
        D("compression of files and of scripts' answers; default: the global `gzip`, for answers its `proxied`"),
    ] = None
    cache_control: Annotated[str | None, D("value of the Cache-Control header of files; default: none")] = None
    mime: Annotated[dict[str, str], D("media types by file extension, in addition to the global `mime`")] = {}
    precompressed: Annotated[
        bool, D("send `.br`, `.zst` or `.gz` files that lie beside the file to clients that accept them")
    ] = True
    follow_symlinks: Annotated[bool, D("follow symbolic links that lead out of `root`, to scripts and to files")] = (
        False
    )
    dotfiles: Annotated[
        bool, D("serve files and run scripts whose names start with a dot; `.well-known` is always served")
    ] = False
    abort_on_close: Annotated[bool, D("cancel the script when the client half-closes its connection")] = False
