"""The answers to the challenges of a CA (RFC 8555 §8), shown by all workers.

solver              shows and withdraws them, in the controller
attempt             the solver as one attempt uses it: which kind comes first, and what is left with others
answers             those of one process, which `web.challenges`, `tls.accept` and `nameserver.name_server` ask for
alpn_certificate    the certificate of a TLS-ALPN-01 challenge
"""
