"""What `sink.c` does, over STARTTLS; it counts messages, and handshakes that resumed a session.

python -m bench.tls_sink_process CERTIFICATE
"""

import asyncio
import ssl
import sys
from contextlib import suppress

import uvloop

from bench.asked import answer_on_stdin

READY = b"220 2.0.0 Ready\r\n"
ANSWERS = {
    b"EHLO": b"250-sink.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n",
    b"AUTH": b"235 2.7.0 Welcome\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
    b"STAR": READY,
}
TAKEN = b"250 2.0.0 OK\r\n"
END = b"\r\n.\r\n"


class Sink:
    """Takes every message, and throws it away."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Nothing has come."""
        self._context = context
        self.counts = {"messages": 0, "handshakes": 0, "resumed": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink.example ESMTP\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            writer.write(ANSWERS.get(verb, TAKEN))
            if verb == b"STAR":
                await writer.start_tls(self._context)
                self.counts["handshakes"] += 1
                self.counts["resumed"] += writer.get_extra_info("ssl_object").session_reused
            elif verb == b"DATA":
                await reader.readuntil(END)
                self.counts["messages"] += 1
                writer.write(TAKEN)
            elif verb == b"QUIT":
                break


async def _serve(certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    sink = Sink(context)
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, backlog=1024)
    stopping = asyncio.Event()
    answer_on_stdin([server.sockets[0].getsockname()[1]], stopping.set, counts=sink.counts)
    await stopping.wait()


def main() -> None:
    """Serve until stdin ends."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1]))


if __name__ == "__main__":
    main()
