"""Lists as their publishers write them: how each begins, how its lines look, and what is blocked by it.

The samples are written in the forms of lists that many use; the names are others.

"""

from __future__ import annotations

import os
from array import array

import pytest

from npserver.dns.message.name import parse_owner
from npserver.dns.zone.public_suffix import is_registry
from npserver.nameserver.blocking.list_format import Action, ListReader
from npserver.nameserver.blocking.table import Table, build_table, hashes_of
from npserver.runtime.scoreboard import Scoreboard

BOARD = Scoreboard(1, os.urandom(16), rate_limit_keys=1)

#: As StevenBlack/hosts.
UNIFIED_HOSTS = """# Title: Unified/hosts with base extensions
#
# This hosts file is a merged collection of hosts from reputable sources,
# with a dash of crowd sourcing via GitHub
#
# Date: 28 November 2026 03:04:05 (UTC)
# Number of unique domains: 3
# ===============================================================

127.0.0.1 localhost
127.0.0.1 localhost.localdomain
127.0.0.1 local
255.255.255.255 broadcasthost
::1 localhost
::1 ip6-localhost
::1 ip6-loopback
fe80::1%lo0 localhost
ff00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
ff02::3 ip6-allhosts
0.0.0.0 0.0.0.0

# Custom host records are listed here.


# End of custom host records.
# Start StevenBlack

#=====================================
# Title: Hosts contributed by Steven Black
# http://stevenblack.com

0.0.0.0 ads.example
0.0.0.0 WWW.Tracker.example # hosts of a game
0.0.0.0 under_score.shop.example

# End of the list
"""

#: As AdAway and Peter Lowe's list, with the line ends of Windows.
TABBED_HOSTS = """\ufeff# AdAway default blocklist\r
#\r
127.0.0.1  localhost\r
::1  localhost\r
\r
# [163.com]\r
127.0.0.1\tads.example\r
127.0.0.1 www.tracker.example#inline\r
127.0.0.1 under_score.shop.example\r
"""

#: As OISD and 1Hosts in the form of domains.
DOMAINS = """# Title: big
# Syntax: Domains (wildcards)
# Entries: 3
# Expires: 1 day

ads.example
*.www.tracker.example
.under_score.shop.example
"""

#: As the DNS filter of AdGuard, and hagezi's lists in the same form.
RULES = """[Adblock Plus]
! Title: AdGuard DNS filter
! Homepage: https://github.com/AdguardTeam/AdGuardSDNSFilter
! Last modified: 2026-11-28T03:04:05Z
! Expires: 12 hours
!
!-------------------!
! Popups
!-------------------!
||ads.example^
||www.tracker.example^$important
||under_score.shop.example^|
@@||good.ads.example^
@@||fine.ads.example^|
@@||better.ads.example^$important
"""

#: As hagezi's response policy zones.
POLICY_ZONE = """$TTL 300
@ SOA localhost. root.localhost. 1764300000 43200 3600 259200 300
  NS localhost.
;
; Title: Multi PRO
; Expires: 1 day
; Syntax: RPZ
;
ads.example CNAME .
*.ads.example CNAME .
good.ads.example CNAME rpz-passthru.
*.good.ads.example CNAME rpz-passthru.
www.tracker.example CNAME . ; phishing
*.www.tracker.example\tIN\tCNAME\t.
under_score.shop.example 300 IN CNAME *.
*.under_score.shop.example CNAME rpz-drop.
"""

#: As URLhaus, whose zone has a name and lines in parentheses.
NAMED_ZONE = """$TTL 30
$ORIGIN urlhaus.example.
@ SOA rpz.urlhaus.example. hostmaster.urlhaus.example. (
        2611280304 ; serial
        300 1800 604800 30 )
@ NS localhost.
;
ads.example.urlhaus.example. CNAME . ; Malware download (2026-11-28), see https://urlhaus.example/host/ads.example/
www.tracker.example CNAME .
under_score.shop.example CNAME .
testentry.urlhaus.example CNAME .
"""

SELF_ONLY = {
    "ads.example": True,
    "www.tracker.example": True,
    "under_score.shop.example": True,
    "x.ads.example": False,
    "tracker.example": False,
    "shop.example": False,
    "localhost": False,
    "localhost.localdomain": False,
    "example": False,
    "0.0.0.0": False,
}
WITH_BELOW = {**SELF_ONLY, "x.ads.example": True, "a.b.www.tracker.example": True, "x.under_score.shop.example": True}
WITH_EXCEPTIONS = {**WITH_BELOW, "good.ads.example": False, "x.good.ads.example": False}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        (UNIFIED_HOSTS, SELF_ONLY),
        (TABBED_HOSTS, SELF_ONLY),
        (DOMAINS, WITH_BELOW),
        (RULES, {**WITH_EXCEPTIONS, "fine.ads.example": False, "better.ads.example": False}),
        (POLICY_ZONE, WITH_EXCEPTIONS),
        (NAMED_ZONE, SELF_ONLY),
    ],
    ids=["unified hosts", "tabbed hosts", "domains", "rules", "policy zone", "named zone"],
)
def test_a_list_blocks_what_it_means(text: str, blocked: dict[str, bool], ends: str) -> None:
    reader = ListReader(1000, is_registry)
    reader.read(text.replace("\r\n", "\n").replace("\n", ends).encode())
    assert reader.remarks() == []
    hashes = {kind: array("q", found) for kind, found in reader.hashes.items()}
    table = Table(BOARD.shared_file, build_table(BOARD.shared_file, hashes).keep())

    def is_blocked(name: str) -> bool:
        found = table.find(hashes_of(parse_owner(name)))
        return found is not None and found[0] < Action.PASS

    assert {name: is_blocked(name) for name in blocked} == blocked
