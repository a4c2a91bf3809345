"""`web.traces`: `tracing` in the config: mistakes are reported with their places."""

from __future__ import annotations

import json

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
    ],
)
def test_mistakes_are_found(tracing: dict[str, str], message: str) -> None:
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
