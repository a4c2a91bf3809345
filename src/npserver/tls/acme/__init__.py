"""Certificates from a CA (RFC 8555): what the config asks for, and the service that orders and renews them.

config          the key `acme`
compile         the certificates that a config wants, each with a stand-in until it is issued
reach           which challenges can work, by the listeners and zones of a config
caa             what CAA records say about the CAs
service         the service, in the controller, which imports the rest when something is to be ordered
manager         keeps certificates valid: what is due, failures, locks
state           what is known of a certificate; `stored_states` keeps it
schedule        when to renew, and when to try again after a failure; pure
clock_jumps     waits that end when the clock is set
challenges      what each kind of challenge asks for, and the `Solver` that answers it
settings        a CA, the account, the kind of key, the limits
problems        `AcmeError`, the one exception
client/         orders from a CA, by requests of our own
answering/      the answers to challenges, at all workers
dns/            where TXT records belong: our zones, aliases, other name servers
on_demand/      certificates at the first handshake of a name

The messages and signatures are those of the packages `acme` and `josepy`. They, and what they bring along, are base
requirements: 2.7 MB more on a disk that has 40 MB of the others, for which a line in the config is enough, at a reload
too. Importing them takes 200 ms and 18 MB of memory, so only the process that orders certificates does, when it does:
`process.preload.ORDERING` names the modules that only it imports.
"""
