"""Authoritative DNS without I/O, from the config's records to compiled answers (RFC 1034, 1035 and their successors).

`dns.message` is the wire grammar: names, record data, queries, EDNS, cookies.
`dns.zone` holds the records: tables of names, the lookup in them, and answers compiled to bytes.

The words used here:

name         in wire form: length-prefixed labels, ending in a zero byte; *key*: a name in lower case
rtype        the number of a record type; *qtype*, *qclass*: those of a question (`type` is a Python built-in)
record set   TTL and data of all records of one name and type (an RRset)
node         a name that exists, with its record sets; a node without any is an empty non-terminal
zone         an apex and the nodes below it
cut          a node with NS records below an apex: the names at and below it are delegated to other servers; or a node
             with a DNAME: names below it stand for those below another name
tables       all nodes and zones that the clients of one view see
sections     the records that a lookup found; *answer*: the same compiled to bytes
tally        a count of answers, in a list of one number

The way of a query: `dns.message.query` parses it, `dns.zone.responder` finds its answer in a cache or makes it:
`dns.zone.lookup` gathers the sections from the tables, which `dns.zone.compile` made of the config, and
`dns.zone.answer` compiles them. Transports, sockets and the clock are in `nameserver`.
"""
