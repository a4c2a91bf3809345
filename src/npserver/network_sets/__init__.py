"""Networks whose addresses come from data: a list in a file or at a URL, or a database of countries (MMDB)."""
