"""`"publish": true` of a rule: the records of its hosts in our zones, made and kept up to date by npserver.

config     the key `public_address`
plan       the names to publish, from rules and listeners; pure
choice     which of a listener's addresses the clients of a view can reach; pure
records    the record sets of all names, for one view; pure
serials    serials of zones that rise with each change; pure
state      the addresses known at present, which the controller tells all processes
compile    makes the plan of a config, and reports what is wrong with it
checks     what is wrong with the records of a plan
zones      the zones of a config with their published names, compiled again for each change
following  keeps the zones of a process at the present addresses
asking     asks a URL for the address of its caller
service    finds out the addresses, in the controller
"""
