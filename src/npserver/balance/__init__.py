"""Which target gets the next request, which targets are well, what may be tried again. Pure: no clock, no sockets."""
