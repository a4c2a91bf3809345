"""Serials of zones of the config that are compiled one after the other, before the controller tells of the first."""

from __future__ import annotations

import json
from pathlib import Path

from npserver.config.load import load_text
from npserver.nameserver.zones.config_serials import TOPIC
from npserver.program.compile import compile_config
from npserver.runtime.context import Context
from tests.stage.worker import make_context

LAST = 0xFFFFFFFF


def serial_of(context: Context, directory: Path, address: str) -> int:
    """Compile a config, and return the serial that its zone has."""
    text = {
        "listen": ["udp://127.0.0.1:5300"],
        "store": str(directory / "store"),
        "dns_zones": ["example.com"],
        "dns": {
            "example.com": {"NS": "ns.example.com", "SOA": f"ns.example.com. host.example.com. {LAST} 1 1 1 1"},
            "x.example.com": {"A": address},
        },
        "dispatch": [{"handler": "dns", "allow_transfer": "127.0.0.1"}],
    }
    runtime = compile_config(load_text(json.dumps(text), "test.json"), context)
    (service,) = [one for one in runtime.services if type(one).__name__ == "SerialService"]
    found: int = service._serials["example.com."].number  # type: ignore[attr-defined]
    return found


def test_a_config_that_comes_before_the_first_is_told_of_has_a_later_serial(tmp_path: Path) -> None:
    context = make_context()
    assert serial_of(context, tmp_path, "10.0.0.1") == LAST
    assert serial_of(context, tmp_path, "10.0.0.1") == LAST  # nothing has changed
    assert serial_of(context, tmp_path, "10.0.0.2") == 1
    assert serial_of(context, tmp_path, "10.0.0.3") == 2


def test_what_the_controller_tells_counts(tmp_path: Path) -> None:
    context = make_context()
    assert serial_of(context, tmp_path, "10.0.0.1") == LAST
    context.pubsub.publish(TOPIC, {"example.com.": {"number": 7, "digest": 1}})
    assert serial_of(context, tmp_path, "10.0.0.2") == 8
