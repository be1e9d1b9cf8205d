"""One POST over a connection of its own: as much of HTTP as a token endpoint takes.

Redirects are not followed: what is sent is for one address only. h11 writes and reads, and we do the
I/O.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

import h11

MAX_BODY_OCTETS = 64 * 1024
_READ_OCTETS = 16 * 1024
_PORTS: Mapping[str, int] = MappingProxyType({"https": 443, "http": 80})


class HTTPError(Exception):
    """The answer cannot be understood; the text holds nothing of it, or of what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server said."""

    status: int
    body: bytes


async def post(url: str, form: bytes, context: ssl.SSLContext) -> Response:
    """Send a form; takes as long as it takes.

    Args:
        url: where to, in ASCII.
        form: what to send, as `application/x-www-form-urlencoded`.
        context: for `https`.

    Raises:
        HTTPError: what came back is no HTTP, or too long.
        OSError: the connection failed.
    """
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    tls = context if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="POST",
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=[
            ("Host", parts.netloc),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", str(len(form))),
            ("Accept", "application/json"),
            ("Connection", "close"),
        ],
    )
    try:
        for event in (request, h11.Data(form), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _response(connection, reader)
    except h11.RemoteProtocolError:
        raise HTTPError("its answer is no HTTP") from None
    finally:
        writer.transport.abort()


async def _response(connection: h11.Connection, reader: asyncio.StreamReader) -> Response:
    status, body = 0, b""
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_OCTETS))
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                body += data
                if len(body) > MAX_BODY_OCTETS:
                    raise HTTPError("its answer is too long")
            case h11.EndOfMessage():
                return Response(status=status, body=body)
            case h11.ConnectionClosed():
                raise HTTPError("it closed the connection without an answer")
            case _:  # an answer that is not the last one (1yz)
                pass
