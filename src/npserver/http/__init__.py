"""The grammar of HTTP messages without I/O: requests and responses parsed, checked and written (RFC 9110, 9112, 9113).

The words used here:

head          the start line and the header section of a message, up to and with the empty line
field line    `Name: value` without its CRLF; *field*: all lines of a name, joined
significant   of the few header fields that a server or proxy interprets (`fields`)
framing       how the end of a message body is found: a length, chunks, or the end of the connection
target        the request target as sent; *path* is its canonical form
memo          a bounded table of parsing results by the bytes parsed (`memo`)

Requests: `request_parser` (HTTP/1) and `http2_fields` (HTTP/2) make a `request.Request`. Responses of upstreams:
`response_parser`. Bodies: `chunked`. Decisions on a request: `conditional`, `ranges`, `negotiation`, `forwarded`.
"""
