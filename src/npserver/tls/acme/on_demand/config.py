"""The key `on_demand` of `tls.acme`: certificates that are ordered at the first handshake of a name."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section
from npserver.config.units import Seconds


class OnDemand(Section, frozen=True, kw_only=True):
    """Certificates for names that the config does not list, ordered when a client first asks for one."""

    ask: Annotated[
        str,
        D(
            "URL of an application that decides for which names: it gets `GET URL?domain=NAME` and answers with 2xx "
            "for yes, with 4xx for no; `unix:///run/app.sock:/path` for one at a Unix socket; required"
        ),
    ] = ""
    ask_timeout: Annotated[Seconds, D("how long the application may take to answer")] = Seconds(5)
    wait: Annotated[
        Seconds, D("how long a handshake waits for its certificate; it then goes on with the listener's default one")
    ] = Seconds(30)
    max_waiting: Annotated[
        int, D("handshakes that wait at a time in one worker; further ones get the default certificate", ge=1)
    ] = 100
    max_asks: Annotated[int, D("questions to the application per minute", ge=1)] = 600
    max_asks_per_client: Annotated[
        int,
        D("questions per minute for the handshakes of one client: an IPv4 address, or the /64 of an IPv6 one", ge=1),
    ] = 60
    max_orders: Annotated[
        int,
        D(
            "certificates ordered per hour for new names; Let's Encrypt accepts 300 orders in 3 hours, of all kinds",
            ge=1,
        ),
    ] = 60
    max_names: Annotated[int, D("names that are kept in the store; there is no certificate for further ones", ge=1)] = (
        10_000
    )
    max_loaded: Annotated[
        int, D("certificates in the memory of one worker; the least recently used is dropped, and loaded again", ge=1)
    ] = 1000
    refusal_time: Annotated[
        Seconds, D("how long the refusal of a name is remembered before the application is asked about it again")
    ] = Seconds(60)
    max_refusals: Annotated[int, D("refused names that are remembered; the oldest are forgotten first", ge=1)] = 10_000
