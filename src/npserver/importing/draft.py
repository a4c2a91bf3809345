"""The config that an import makes, with the comments of its parts."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, field

from npserver.errors import clip
from npserver.importing.directives import Directive
from npserver.importing.maps import map_of
from npserver.importing.scope import Scope
from npserver.importing.texts import Ours

MAX_RULES = 20_000


#: Directives that decide who gets what.
DECIDES = {
    "if", "rewrite", "limit_req", "limit_conn", "valid_referers", "include", "error_page", "sub_filter", "proxy_method",
    "proxy_set_body", "proxy_pass_request_headers",
}  # fmt: skip
_BY_ITSELF = frozenset(
    """
    events worker_connections sendfile tcp_nopush tcp_nodelay types types_hash_max_size default_type multi_accept
    use pid keepalive_timeout server_names_hash_bucket_size ssl_session_cache ssl_session_timeout
    ssl_session_tickets ssl_prefer_server_ciphers ssl_stapling ssl_stapling_verify resolver_timeout server_tokens
    gzip_vary gzip_comp_level gzip_proxied gzip_disable gzip_http_version gzip_min_length gzip_buffers load_module
    log_format proxy_headers_hash_max_size variables_hash_max_size http2 http3 ssl_dhparam ssl_ciphers
    ssl_ecdh_curve charset worker_rlimit_nofile large_client_header_buffers client_body_buffer_size
    fastcgi_buffers fastcgi_buffer_size proxy_buffers proxy_buffer_size proxy_busy_buffers_size
    fastcgi_intercept_errors proxy_http_version log_not_found proxy_buffering proxy_request_buffering proxy_pass_header
    etag proxy_temp_path client_body_temp_path fastcgi_temp_path uwsgi_temp_path scgi_temp_path resolver
    keepalive_requests reset_timedout_connection lingering_timeout lingering_close aio directio sendfile_max_chunk
    output_buffers open_file_cache open_file_cache_valid open_file_cache_errors open_file_cache_min_uses
    types_hash_bucket_size map_hash_bucket_size map_hash_max_size variables_hash_bucket_size postpone_output
    ssl_trusted_certificate ssl_buffer_size gzip_static autoindex absolute_redirect port_in_redirect charset_types
    server_names_hash_max_size fastcgi_busy_buffers_size fastcgi_temp_file_write_size fastcgi_max_temp_file_size
    proxy_temp_file_write_size proxy_max_temp_file_size fastcgi_request_buffering proxy_cache_path limit_req_zone
    limit_conn_zone client_header_buffer_size ssl_conf_command
    """.split()  # noqa: SIM905
)


class DraftRule(Struct):
    """A rule, and what is said above it."""

    keys: dict[str, Any]
    comments: list[str] = field(default_factory=list)


class Draft(Struct):
    """A config in the making. `losses` are comments about what changes who gets what: they are told at once, too."""

    top: dict[str, Any] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    listeners: dict[str, dict[str, Any]] = field(default_factory=dict)  # by URI
    certificates: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by listener
    upstreams: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[DraftRule] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    maps: dict[str, Directive] = field(default_factory=dict)  # `map` blocks by their variable, such as `$scheme2`

    def variables(self, scope: Scope, value: str) -> dict[str, str]:
        """Return the variables in a text that `set` or `map` gives a value; the maps are added to the config."""
        found = scope.constants()
        if "server_name" in value and (names := scope.words("server_name")):
            found["server_name"] = names[0].lower()
        for name, one in self.maps.items():
            if re.search(rf"\$(\{{{re.escape(name[1:])}\}}|{re.escape(name[1:])}\b)", value):
                key = re.sub(r"\W", "_", name[1:]).lower()
                self.top.setdefault("maps", {})[key] = map_of(one)
                found[name[1:]] = Ours(f"${{map.{key}}}")
        return found

    def lose(self, directive: Directive, why: str) -> str:
        """Note that a directive that decides about requests has no counterpart. Return the comment."""
        directive.used = True
        comment = f"{directive.place}: {clip(directive.text, 100)}: {why}"
        if comment not in self.losses:
            self.losses.append(comment)
        return comment

    def comment_on(self, start: int, comments: list[str]) -> None:
        """Say something above the rule with this number; of the whole if there is no such rule."""
        if start < len(self.rules):
            self.rules[start].comments[:0] = comments
        else:
            self.comments += comments

    def left_over(self, directives: list[Directive]) -> list[str]:
        """Return a comment for each directive that nobody has used, and mark it."""
        comments = []
        for one in directives:
            if one.used:
                continue
            why = one.why or ("npserver has its own way" if one.name in _BY_ITSELF else "no counterpart")
            if one.name in DECIDES:
                comments.append(self.lose(one, why))
            else:
                one.used = True
                comments.append(f"{one.place}: {clip(one.text, 100)}: {why}")
        return comments
