"""The keys of handler `dns` and of the `dns` sections."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.upstream.config import UpstreamTls
from npserver.web.config import HttpRule

UPDATES_MAX_SIZE = Size(16 << 20)  # default of `updates_max_size`


class DnsRule(HttpRule, tag_field="handler", tag="dns", frozen=True, kw_only=True):
    """Answer DNS queries from the `dns` section, over UDP, TCP, TLS (ssl listeners), QUIC or HTTPS (RFC 8484)."""

    uses_dns_ports: ClassVar[bool] = True
    limits_requests: ClassVar[bool] = False

    listener: Annotated[
        OneOrMany | None,
        D(
            "names or URIs of the listeners this rule applies to; "
            "default: the tcp, udp and quic listeners that no rule names",
            needs="listen",
        ),
    ] = None
    path: Annotated[str, D("URL path of DNS over HTTPS")] = "/dns-query"
    public: Annotated[bool, D("allow listening on all interfaces; answers over UDP are then rate-limited")] = False
    allow_transfer: Annotated[
        OneOrMany,
        D(
            "networks that may transfer zones (AXFR, IXFR), or `key:NAME` for requests signed by a key of `dns_keys`; "
            "default: none",
            needs="networks",
        ),
    ] = []
    nsid: Annotated[
        str, D("identifier of this server for clients that ask for it (NSID, RFC 5001), such as `fra1`; default: none")
    ] = ""
    timeout: Annotated[
        Seconds, D("close a TCP, TLS or QUIC connection after this time without a query and with nothing left to send")
    ] = Seconds(10)
    rate_limit: Annotated[
        int | str,
        D(
            "identical answers to one client network (/24 or /56) on public UDP listeners, over all workers: a number "
            "per second, or a rate such as `100/m`",
            ge=1,
        ),
    ] = 20  # type: ignore[assignment]  # it limits answers, not requests
    rate_limit_slip: Annotated[
        int, D("send every Nth rate-limited answer truncated (TC) instead of dropping it; 0 drops all", ge=0)
    ] = 2


#: The records of one name: type to a string, an object or a list of them; "TTL" to seconds.
#: Checked by `dns.message.record`, which knows each type's form.
DnsRecords = dict[str, object]
DnsZone = dict[str, DnsRecords]


#: What an error about the records of a name asks for.
RECORDS = 'an object such as {"A": "10.0.0.1"}'


class DnsView(Section, frozen=True, kw_only=True):
    """DNS records for the clients of some networks."""

    from_: Annotated[OneOrMany, D("client networks that this view is for", needs="networks")] = field(name="from")
    dns: Annotated[
        DnsZone, D("the records of this view, by owner name; used instead of the global `dns`", opaque=RECORDS)
    ]


class DnsKey(Section, frozen=True, kw_only=True):
    """A key that this server and others sign messages with (TSIG, RFC 8945)."""

    secret: Annotated[str, D("the secret, in base64; or write `file`", secret=True)] = ""
    file: Annotated[
        str | None, D("file with the secret, in base64 or as `tsig-keygen` writes it, then with the algorithm")
    ] = None
    algorithm: Annotated[
        Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] | None,
        D("the key's algorithm; default: that in `file`, else hmac-sha256"),
    ] = None


class ZoneUpdates(Section, frozen=True, kw_only=True):
    """What the holder of a key may change in a zone (RFC 2136)."""

    key: Annotated[OneOrMany, D("names of keys of `dns_keys` that sign the updates")]
    names: Annotated[
        OneOrMany,
        D("names that may be changed: `nas.example.com`, `*.dyn.example.com` for all below, `self` for the name of "
          "the key; default: all of the zone"),
    ] = []  # fmt: skip
    types: Annotated[
        OneOrMany,
        D("types of records that may be changed, such as `A`; `any` for all; default: all but SOA, NS, DS, DNAME, CDS "
          "and CDNSKEY"),
    ] = []  # fmt: skip


class DnsPrimary(Section, frozen=True, kw_only=True):
    """A name server that a zone is transferred from."""

    address: Annotated[
        str, D("IP address, such as `203.0.113.5` or `[2001:db8::5]:53`; default port: 53, over TLS 853")
    ]
    key: Annotated[str | None, D("key of `dns_keys` that signs questions and answers", needs="dns_keys")] = None
    tls: Annotated[bool | UpstreamTls, D("transfer over TLS (RFC 9103), whose certificate is verified")] = False


class DnsNotify(Section, frozen=True, kw_only=True):
    """A name server that is told of changes."""

    address: Annotated[str, D("IP address, such as `203.0.113.5` or `[2001:db8::5]:53`")]
    key: Annotated[str | None, D("key of `dns_keys` that signs the messages (TSIG)", needs="dns_keys")] = None


class Dnssec(Section, frozen=True, kw_only=True):
    """How a zone is signed (DNSSEC)."""

    keys: Annotated[
        Literal["csk", "ksk-zsk"],
        D("`csk`: one key signs everything; `ksk-zsk`: one key signs the keys, and another one the records"),
    ] = "csk"
    algorithm: Annotated[Literal["ecdsap256", "ed25519"], D("algorithm of the keys (13 or 15)")] = "ecdsap256"
    denial: Annotated[
        Literal["nsec", "nsec3"],
        D("proofs that names do not exist: `nsec`, which tell a zone's names, or `nsec3`, which tell their hashes"),
    ] = "nsec"
    signature_life: Annotated[
        Seconds, D("time for which signatures are valid, in whole days; they are renewed after a third of it")
    ] = Seconds(14 * 86_400)
    roll: Annotated[
        str,
        D("age at which a new key replaces the `csk` or `ksk`, such as `365d`; `manual`: `npserver dns roll` does it"),
    ] = "manual"
    roll_zsk: Annotated[str, D("the same for the `zsk`")] = "manual"
    ds_ttl: Annotated[Seconds, D("TTL of the DS record at the parent: how long resolvers may know a former one")] = (
        Seconds(86_400)
    )
    parent: Annotated[
        Literal["auto", "manual"] | list[str],
        D("where the parent is asked for the DS record, before a former key goes: `auto`: at its name servers, which "
          "the system's resolvers tell; a list: at these IP addresses; `manual`: nowhere, and "
          "`npserver dns roll ZONE -ds-seen` says it"),
    ] = "auto"  # fmt: skip
    withdraw: Annotated[
        bool, D("ask the parent to remove the DS record (RFC 8078 §4): do so before you leave out `dnssec`")
    ] = False


class DnsZoneSection(Section, frozen=True, kw_only=True):
    """A zone that is served."""

    name: Annotated[str, D("apex of the zone, such as `example.com`")]
    file: Annotated[
        str | None,
        D("zone file (RFC 1035 §5) with all records of the zone; `dns` and the views then have none in it"),
    ] = None
    primary: Annotated[
        str | DnsPrimary | list[str | DnsPrimary] | None,
        D(
            "name server that the zone is transferred from, by IP address or object, or several, asked in turn; "
            "`dns` and the views then have no records in the zone"
        ),
    ] = None
    notify: Annotated[
        str | DnsNotify | list[str | DnsNotify],
        D("name servers that are told of each change of the zone (NOTIFY), by IP address or object"),
    ] = []
    allow_transfer: Annotated[
        OneOrMany | None,
        D(
            "networks that may transfer the zone, or `key:NAME` for requests signed by a key of `dns_keys`; [] for "
            "nobody; default: `allow_transfer` of the rule",
            needs="networks",
        ),
    ] = None
    updates: Annotated[
        list[ZoneUpdates], D("who may update the zone, by signed messages (RFC 2136); without any, nobody may")
    ] = []
    updates_max_size: Annotated[
        Size,
        D("most that updates may make of the zone, in bytes: what would be more is refused; a name with an address "
          "takes about 50"),
    ] = UPDATES_MAX_SIZE  # fmt: skip
    dnssec: Annotated[bool | Dnssec, D("sign the zone: `true`, or an object with settings")] = False
