"""DNSSEC of the zones served: their keys in the store, what they sign with at each time, roll-overs.

`compile` makes a zone's keys at the first start, `state` is what the store keeps of them, `rollover` decides about the
steps, `service` takes them in the controller, and `signer` has every process sign with the keys of the moment.
"""
