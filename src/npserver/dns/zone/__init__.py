"""Zones: tables of names and records, the lookup in them (RFC 1034 §4.3.2), answers and zone transfers. Pure."""
