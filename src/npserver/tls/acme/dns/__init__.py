"""DNS-01: where the TXT record of a name belongs, and who is to serve it (RFC 8555 §8.4).

our_zones       our zones, and the CNAME records of challenges in them
places          the places of a name's record: our zones, the name of `dns_alias`, the server of `dns_update`
compile         the keys `dns_alias` and `dns_update`
update_server   a name server that takes updates
updater         adds records there, and removes them, by signed updates (RFC 2136)
"""
