"""Certificates on the status page, in JSON and in the metrics: what is told, and that hostile texts stay texts."""

from __future__ import annotations

import re

import pytest

from npserver.observe import metrics
from npserver.tls.states import CertificateState, Count, PublishedStates, select
from npserver.web.handlers.status.certificates import certificate_samples, certificate_table, certificates_as_json

DAY_S = 86400.0
NOW = 1_800_000_000.0 + 10 * DAY_S
ISSUED = CertificateState(
    "acme", ("a.example", "*.a.example"), "https://ca.example/dir", "", 1_800_000_000.0, 1_800_000_000.0 + 90 * DAY_S,
    1_800_000_000.0 + 60 * DAY_S,
)  # fmt: skip
MISSING = CertificateState("acme", ("b.example",), renew_at=1_800_000_300.0, failures=2, error="no <b> & no more")
FILE = CertificateState("file", ("c.example",), "CN=C", "/etc/c.pem", 1_700_000_000.0, 1_900_000_000.0)
ALL = select([ISSUED, MISSING, FILE])
HOSTILE = "\"}\\<script>alert(1)</script>'&"


def exposed(states: PublishedStates) -> list[str]:
    return metrics.prometheus(certificate_samples(states)).splitlines()


def test_the_metrics_have_the_times_and_the_failures_of_each() -> None:
    lines = exposed(ALL)
    acme, missing, file = (
        'names="a.example *.a.example",source="acme"',
        'names="b.example",source="acme"',
        'names="c.example",source="file",file="/etc/c.pem"',
    )
    for line in (
        'npserver_certificates{source="acme"} 2',
        'npserver_certificates_failing{source="acme"} 1',
        'npserver_certificates_failing{source="file"} 0',
        f'npserver_certificate_issued_timestamp_seconds{{{acme},issuer="https://ca.example/dir"}} 1800000000',
        f"npserver_certificate_expires_timestamp_seconds{{{acme}}} 1807776000",
        f"npserver_certificate_renewal_timestamp_seconds{{{acme}}} 1805184000",
        f"npserver_certificate_failures{{{acme}}} 0",
        f"npserver_certificate_expires_timestamp_seconds{{{missing}}} 0",
        f"npserver_certificate_renewal_timestamp_seconds{{{missing}}} 1800000300",
        f"npserver_certificate_failures{{{missing}}} 2",
        f"npserver_certificate_expires_timestamp_seconds{{{file}}} 1900000000",
    ):
        assert line in lines
    assert not [line for line in lines if "renewal" in line and "c.example" in line], "nobody renews it"
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(types)) == len(types) == 6


def test_json_has_times_in_iso_8601_or_null() -> None:
    missing, issued, file = certificates_as_json(ALL)
    assert issued == {
        "names": ["a.example", "*.a.example"], "more_names": 0, "source": "acme", "issuer": "https://ca.example/dir",
        "file": None, "issued": "2027-01-15T08:00:00Z", "expires": "2027-04-15T08:00:00Z",
        "renew_at": "2027-03-16T08:00:00Z", "failures": 0, "error": None,
    }  # fmt: skip
    assert (missing["issued"], missing["expires"], missing["error"]) == (None, None, "no <b> & no more")
    assert (file["file"], file["renew_at"]) == ("/etc/c.pem", None)


def test_the_table_has_the_days_left_and_the_last_error_escaped() -> None:
    table = certificate_table(ALL, NOW)
    assert "3 in all, failing: 1" in table
    assert '<span class="error">failed attempts: 2; the last: no &lt;b&gt; &amp; no more</span>' in table
    for cell in ("a.example, *.a.example", "CA: https://ca.example/dir", "2027-01-15 08:00", "file: /etc/c.pem"):
        assert f">{cell}</td>" in table
    assert re.findall('<b class="(.*?)">(.*?)</b>', table) == [
        ("bad", "not issued yet"), ("good", "80 d"), ("good", "1147 d"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left_s", "lifetime_s", "kind"),
    [(8 * DAY_S, 90 * DAY_S, "good"), (6 * DAY_S, 90 * DAY_S, "bad"), (0.5 * DAY_S, DAY_S, "good"),
     (0.2 * DAY_S, DAY_S, "bad"), (-1.0, DAY_S, "bad")],
)  # fmt: skip
def test_a_certificate_that_expires_soon_is_marked(left_s: float, lifetime_s: float, kind: str) -> None:
    state = CertificateState("file", ("a",), issued=NOW + left_s - lifetime_s, expires=NOW + left_s)
    assert f'<b class="{kind}">' in certificate_table(select([state]), NOW)


def test_a_file_that_changed_and_cannot_be_used_is_told() -> None:
    state = CertificateState("file", ("c.example",), "CN=C", "/etc/c.pem", 1.0, 2.0, failures=1, error="truncated")
    assert "changed, and not loaded: truncated" in certificate_table(select([state]), NOW)


def test_without_certificates_there_is_no_table() -> None:
    assert certificate_table(PublishedStates(), NOW) == ""
    assert certificates_as_json(PublishedStates()) == []
    assert exposed(PublishedStates()) == []


def test_what_is_left_out_is_counted() -> None:
    many = [CertificateState("acme", (f"{number}.example",), expires=1.0) for number in range(10_000)]
    table = certificate_table(select(many), NOW)
    assert len(table) < 8000
    assert re.search(r"\d\d more are in the JSON", table)
    assert "9,900 more, which are less urgent, are not shown." in table
    assert len(exposed(select(many))) < 700
    names = tuple(f"{number}.example" for number in range(500))
    assert "9.example and 490 more</td>" in certificate_table(
        select([CertificateState("file", names, expires=1.0)]), NOW
    )


def test_hostile_texts_stay_texts() -> None:
    state = CertificateState(
        "acme", (HOSTILE,), HOSTILE + "\n# HELP x", "", 1.0, 2.0, 3.0, failures=1, error=f"{HOSTILE}\nnpserver_x 1"
    )
    states = select([state])
    table = certificate_table(states, NOW)
    assert "<script" not in table
    assert table.count("&lt;script&gt;") == 3
    line = re.compile(r'(# (HELP|TYPE) .*|\w+\{(\w+="([^"\\\n]|\\[\\"n])*",?)+\} \d+)')
    assert [text for text in exposed(states) if not line.fullmatch(text)] == []


def test_certificates_with_equal_labels_are_one_sample_that_of_the_more_urgent() -> None:
    """Prometheus takes no metrics at all where two samples have the same labels."""
    soon, later = (CertificateState("internal", ("nas.home",), expires=at) for at in (10.0, 20.0))
    (found,) = [text for text in exposed(select([later, soon])) if text.startswith("npserver_certificate_expires")]
    assert found.endswith(" 10")


def test_equal_labels_are_counted_apart() -> None:
    assert select([ISSUED, ISSUED]).counts == {"acme": Count(2, 0)}
