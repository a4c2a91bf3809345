"""The ACME client (RFC 8555).

acme_client     one order from its start to the certificate; what the CA says about renewals
account         the account's key, kept by the caller, and its registration
authorization   the authorisations of an order, and the challenge that is chosen of each
certificate     the key, the request for a certificate, and what must be true of the chain that comes
transport       signed requests, bounded in size and time, in threads that end with their caller
"""
