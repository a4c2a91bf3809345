"""Authoritative DNS without I/O: from the config's records to ready answers (RFC 1034, 1035 and what followed).

The words used here:

name        in wire form: length-prefixed labels, ending in a zero byte; *key*: a name in lower case
record set  the records of a name and type, which share a TTL
node        a name that exists, with its record sets; without any it is an empty non-terminal
zone        an apex and all nodes below it down to delegations
cut         a node with NS records below its zone's apex: everything from there on belongs to someone else
tables      all zones that a view's clients see
sections    what a lookup found; answer: the same as bytes, ready to be sent

The way of a query: `responder` (fast path) or `query` (everything odd), `lookup` in the tables that `compile` made,
`answer` to bytes. Transports, sockets and the clock are in `nameserver.udp` and its neighbours.
"""
