"""Data from files and URLs that is followed while the server runs: networks, block lists. The last good data stays."""
