"""The response cache of proxy rules (RFC 9111).

`config` and `compile` read the key `cache`; `handler` answers from the `store`, or lets a `fill` ask the upstream once
for all `reader`s that wait for the same response.
"""
