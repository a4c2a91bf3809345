"""Certificates on demand: ordered at the first handshake of a name, once the application has agreed.

    config       the keys
    entry        a compiled entry, and which names can have a certificate at all
    compile      checks the keys
    waits        in each worker: the handshakes that wait, and the names that were refused
    server_tls   the certificates of a listener, with those on demand; the least recently used leave memory
    permission   asks the application over HTTP
    consent      asks within the limits, and logs
    names        which names the store has
    questions    in the controller: those of the workers, each name decided once
    answerable   what can be answered for a name while it is ordered
    keeper       decides, orders, renews
    refusals, counts  what is remembered and counted

A worker tells the controller about a name that no certificate covers, and the controller tells it what was decided.
Handshakes and workers that want the same name cause one question to the application and one order.
"""
