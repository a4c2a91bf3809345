"""What variables of nginx are called here, for hints (`web.variables`) and for configs of nginx (`importing`). Pure."""

from __future__ import annotations

_NAMES = {
    "scheme": "scheme", "host": "host", "http_host": "authority", "request_uri": "request_uri",
    "request_id": "request_id", "otel_trace_id": "trace_id",
    "remote_addr": "client_ip", "remote_port": "client_port", "realip_remote_addr": "remote_ip", "remote_user": "user",
    "server_addr": "local_ip", "server_port": "local_port", "server_protocol": "protocol", "uri": "path",
    "document_uri": "path", "args": "query", "query_string": "query", "request_method": "method",
    "ssl_protocol": "tls_version", "ssl_cipher": "tls_cipher", "ssl_server_name": "sni",
    "ssl_client_s_dn": "tls_client_subject", "ssl_client_fingerprint": "tls_client_fingerprint",
    "ssl_client_serial": "tls_client_serial", "ssl_client_escaped_cert": "tls_client_cert",
    "request": "method $target $protocol", "status": "status", "request_time": "duration", "msec": "time_unix",
    "time_local": "time_local", "time_iso8601": "time_iso", "body_bytes_sent": "sent_bytes", "bytes_sent": "sent_bytes",
    "upstream_addr": "upstream", "upstream_response_time": "upstream_ms", "upstream_header_time": "upstream_head_ms",
    "upstream_connect_time": "upstream_connect_ms", "upstream_cache_status": "cache_status",
}  # fmt: skip
_OF_FIELDS = {"http_": "header.", "sent_http_": "response.", "upstream_http_": "response."}
_BY_PREFIX = {**_OF_FIELDS, "cookie_": "cookie.", "arg_": "query."}
#: Whose values are written in another way: without the question mark, as SHA-1, in seconds, without the head, ...
UNLIKE = frozenset({
    "args", "query_string", "ssl_client_fingerprint", "bytes_sent", "upstream_addr", "upstream_response_time",
    "upstream_header_time", "upstream_connect_time", "upstream_cache_status",
})  # fmt: skip


def names_for(name: str) -> list[str]:
    """Return our names for a variable of nginx: such as that of a header field. Several for the line of a request."""
    if ours := _NAMES.get(name):
        return ours.split(" $")
    for prefix, kind in _BY_PREFIX.items():
        if (rest := name.removeprefix(prefix)) not in ("", name):
            return [kind + (rest.replace("_", "-") if prefix in _OF_FIELDS else rest)]
    return []
