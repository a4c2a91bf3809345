"""Dynamic updates of zones (RFC 2136): messages, policies by key, and what they make of a zone."""
