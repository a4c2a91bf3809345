"""Zones between name servers: who may transfer ours, and by which keys."""
