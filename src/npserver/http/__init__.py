"""The grammar of HTTP messages without I/O: requests and responses parsed, checked and written (RFC 9110, 9112, 9113).

The words used here:

head          the start line and the header section of a message, with the empty line that ends them
field line    `Name: value` without its CRLF; *field*: all lines of one name, joined
significant   said of the few header fields that a server or proxy interprets (`http.fields`)
framing       how the end of a message body is found: by a length, by chunks, or by the end of the connection
target        the request target as sent; *path*: its path in canonical form (`http.request_target`)
memo          a bounded table of parsing results by the bytes parsed (`http.memo`)

`http.request_parser` (HTTP/1) and `http.http2_fields` (HTTP/2) make a `http.request.Request` of a head;
`http.response_parser` parses the heads of upstreams' responses, `http.chunked` decodes bodies. `http.conditional`,
`http.ranges`, `http.negotiation` and `http.forwarded` interpret single fields.
"""
