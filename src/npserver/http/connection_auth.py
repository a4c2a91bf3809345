"""Authentication of a connection instead of a request: NTLM, and Negotiate (RFC 4559 §4).

HTTP's own authentication is stateless: each request carries its credentials (RFC 9110 §11). With these two schemes a
server takes the user that has logged in for the sender of all later requests on the same connection. A proxy must not
send requests of other clients over it (RFC 9110 §11.6.1, RFC 4559 §6).
"""

from __future__ import annotations

import re

_SCHEMES = (b"ntlm", b"negotiate")
_CHALLENGE = re.compile(rb"(?:^|,)[ \t]*(?:ntlm|negotiate)(?=[ \t,]|$)", re.IGNORECASE)


def offers_connection_auth(challenges: bytes) -> bool:
    """Return whether the value of a WWW-Authenticate field offers one of the schemes."""
    return _CHALLENGE.search(challenges) is not None


def uses_connection_auth(credentials: bytes) -> bool:
    """Return whether the value of an Authorization field is of one of the schemes."""
    return credentials.lstrip(b" \t").partition(b" ")[0].lower() in _SCHEMES
