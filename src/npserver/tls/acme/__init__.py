"""The ACME client (RFC 8555): certificates from a CA, by requests of our own.

    schedule     when to renew, and when to try again after a failure; pure
    challenges   what each kind of challenge asks for, and the `Solver` that provides it
    alpn_certificate  the certificate of a TLS-ALPN-01 challenge
    settings     a CA, the account, the kind of key, the limits
    problems     `AcmeError`, the one exception
    transport    signed requests, bounded in size and time, in threads that end with their caller
    account      the account's key, kept by the caller, and its registration
    certificate  the key, the request for a certificate, and what must be true of the chain that comes
    client       one order from its start to the certificate; what the CA says about renewals

The messages and signatures are those of the packages `acme` and `josepy`. They, and what they bring along, are base
requirements: 2.7 MB more on a disk that has 40 MB of the others, for which a line in the config is enough, at a reload
too. Importing them takes 200 ms and 18 MB of memory, so only the process that orders certificates does, when it does:
of these modules only `schedule`, `challenges`, `settings` and `problems` are for everybody.
"""
