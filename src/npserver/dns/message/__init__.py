"""The wire grammar of DNS messages (RFC 1035 §4): header, names, record data, queries, EDNS and cookies. Pure."""
