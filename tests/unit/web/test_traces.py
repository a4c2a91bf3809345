"""`tracing` in the config: mistakes are reported with their places.

Covers `web.trace_collector` and `web.traces`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory


@pytest.mark.parametrize(
    ("tracing", "message"),
    [
        ({"to": "ftp://otel"}, "'to'|expected a URL that begins with http"),
        ({"to": "http://otel:4318/v1/ traces"}, "blank or control character"),
        ({"to": "http://otel:4318", "sample": "5"}, "expected a share from"),
        ({"to": "http://otel:4318", "sample": "101%"}, "expected a share from"),
        ({"to": "http://otel:4318", "parent": "some"}, "trusted"),
        ({"sample": "5%"}, "to"),
        ({"to": "http://otel", "headers": {"X Y": "1"}}, "'X Y' is not a valid header name"),
        ({"to": "http://otel", "headers": {"X": "1\r\nY: 2"}}, "the value of X has control characters"),
        ({"to": "http://otel", "headers": {"X": "\u20ac"}}, "the value of X has control characters, or others"),
        ({"to": "http://otel", "headers": {"Content-Length": "0"}}, "Content-Length cannot be set"),
        ({"to": "http://otel", "tls": {}}, "'tls' has no effect: tracing.to is not an https URL"),
        ({"to": "https://otel", "tls": {"http2": True}}, "'http2' has no effect"),
        ({"to": "https://otel", "tls": {"ca": "/none/ca.pem"}}, "ca"),
        ({"to": "https://otel", "tls": {"key": "/none/key.pem"}}, "'key' requires 'cert'"),
    ],
)
def test_mistakes_are_found(tracing: dict[str, Any], message: str) -> None:
    text = json.dumps({"listen": ["http://127.0.0.1:8080"], "tracing": tracing, "dispatch": [{"handler": "respond"}]})
    with pytest.raises(ConfigError, match=message) as caught:
        dry_run(load_text(text, "npserver.json"), Directory())
    assert caught.value.problems[0].line == 1


@pytest.mark.parametrize("to", ["http://otel:4318", "https://otel/v1/traces", "unix:///run/otel.sock:/v1/traces"])
def test_collectors(to: str) -> None:
    text = json.dumps(
        {"listen": ["http://127.0.0.1:8080"], "tracing": {"to": to}, "dispatch": [{"handler": "respond"}]}
    )
    assert not dry_run(load_text(text, "npserver.json"), Directory()).warnings


@pytest.mark.parametrize(
    ("config", "warning"),
    [
        ({"metrics": {"times": True}}, "no rule has handler 'status'"),
        ({"metrics": {"hosts": True}}, "'times' is not set"),
        ({"dispatch": [{"handler": "respond", "trace": False}]}, "no effect: 'tracing' is not set"),
        ({"tracing": {"to": "http://otel:4317"}}, "4317 is the port for OTLP over gRPC"),
        ({"metrics": {"exemplars": True}, "tracing": {"to": "http://otel"}}, "'times' is not set"),
        ({"metrics": {"times": True, "exemplars": True}, "dispatch": [{"handler": "status"}]}, "'tracing' is not set"),
        (
            {
                "listen": ["udp://127.0.0.1:5300"],
                "tracing": {"to": "http://otel"},
                "dispatch": [{"handler": "forward", "forward_to": "udp://127.0.0.1:53"}],
            },
            "no rule is about HTTP",
        ),
    ],
)
def test_keys_without_effect_are_warned_of(config: dict[str, object], warning: str) -> None:
    whole = {"listen": ["http://127.0.0.1:8080"], "dispatch": [{"handler": "respond"}], **config}
    runtime = dry_run(load_text(json.dumps(whole), "npserver.json"), Directory())
    assert [warning in str(one) for one in runtime.warnings] == [True]
