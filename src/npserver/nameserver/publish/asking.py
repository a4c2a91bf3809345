"""Asks a URL for the address of its caller, as `curl https://ip.example.net` does.

What answers may be broken, or lie: whatever is not a public address of the IP version that was asked over is refused.
"""

from __future__ import annotations

from ipaddress import ip_address

from npserver.errors import NpserverError, clip
from npserver.nameserver.publish.addresses import is_public
from npserver.runtime.http_get import NoAnswer, get, parse_url

MAX_ANSWER_BYTES = 16 << 10  # an address has 39 characters at most


class AskingError(NpserverError):
    """A URL gave no address. The message is for the operator."""


async def ask(url: str, version: int, timeout_s: float) -> str:
    """Return the address that `url` answers with when asked over an IP version. Raises: AskingError."""
    try:
        body = await get(parse_url(url), timeout_s=timeout_s, max_bytes=MAX_ANSWER_BYTES, ip_version=version)
    except NoAnswer as error:
        raise AskingError(f"{error} (public_address.timeout)" if error.is_late else str(error)) from None
    text = body.strip().decode("ascii", "replace")
    try:
        address = ip_address(text)
    except ValueError:
        raise AskingError(f"the answer is not an address: {clip(text)}") from None
    if address.version != version:
        raise AskingError(f"the answer over IPv{version} is {address}")
    if not is_public(address):
        raise AskingError(f"the answer is {address}, which is not a public address")
    return str(address)
