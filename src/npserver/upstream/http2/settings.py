"""What connections over HTTP/2 to a target go by: the key `http2` of an upstream, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.upstream.config import UpstreamHttp2


class Http2Settings(Struct, frozen=True):
    """The section, with times in seconds; 0 stands for none."""

    max_streams: int
    window: int
    ping_interval_s: float
    ping_timeout_s: float
    max_age_s: float
    max_control_frames: int
    key: str  # the config key of the section, for the log: `upstreams.api.http2`


def http2_settings(section: UpstreamHttp2, key: str) -> Http2Settings:
    """Return the settings of a section."""
    return Http2Settings(
        section.max_streams,
        int(section.window),
        _seconds(section.ping_interval),
        float(section.ping_timeout),
        _seconds(section.max_age),
        section.max_control_frames,
        key,
    )


def _seconds(value: float) -> float:
    """Return a time; 0 for one that means no limit."""
    return 0.0 if value == float("inf") else float(value)
