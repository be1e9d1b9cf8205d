"""What `load.c` does, over STARTTLS: the same command line, the same answer.

    python -m bench.tls_load PORT CLIENTS new|keep SECONDS < content

A thread per client, which resumes its last session when it connects again. It is slower than the router
where that does little, so what it measures well is CPU time per message, and not messages per second.
"""

import dataclasses
import json
import ssl
import sys
import threading
import time

from bench.clients import Client, UnexpectedError, tls_context
from bench.load import Told

MAX_FAILURES = 200


class _Clients:
    def __init__(self, port: int, content: bytes, *, kept: bool, seconds: float) -> None:
        self._port, self._content, self._kept = port, content, kept
        self._began = time.monotonic()
        self._until = self._began + seconds
        self._lock = threading.Lock()
        self._latencies_s: list[float] = []
        self._last = self._began
        self._resumed = 0
        self._errors: list[str] = []

    def run(self, clients: int) -> Told:
        threads = [threading.Thread(target=self._one) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sorted_ms = sorted(seconds * 1000 for seconds in self._latencies_s) or [0.0]
        return Told(
            ok=len(self._latencies_s),
            failed=len(self._errors),
            seconds=self._last - self._began,
            p50_ms=sorted_ms[len(sorted_ms) // 2],
            p99_ms=sorted_ms[len(sorted_ms) * 99 // 100],
            first_error=next(iter(self._errors), ""),
            resumed=self._resumed,
        )

    def _one(self) -> None:
        context, session = tls_context(), None
        while time.monotonic() < self._until and len(self._errors) < MAX_FAILURES:
            try:
                session = self._session(context, session)
            except (OSError, UnexpectedError) as error:
                self._errors.append(str(error))

    def _session(self, context: ssl.SSLContext, last: ssl.SSLSession | None) -> ssl.SSLSession | None:
        began = time.monotonic()
        with Client(self._port, context=context) as client:
            client.greet()
            is_resumed = client.start_tls(last)
            client.log_in()
            while True:
                client.message(self._content)
                now = time.monotonic()
                with self._lock:
                    self._resumed += is_resumed
                    self._latencies_s.append(now - began)
                    self._last = max(self._last, now)
                began = now
                if not self._kept or now >= self._until:
                    break
            session = client.encrypted.session  # the tickets of TLS 1.3 come behind the handshake
            client.leave()
            return session


def main() -> None:
    """Run what the command line says."""
    port, clients, mode, seconds = sys.argv[1:5]
    content = sys.stdin.buffer.read()
    load = _Clients(int(port), content, kept=mode != "new", seconds=float(seconds))
    print(json.dumps(dataclasses.asdict(load.run(int(clients)))))


if __name__ == "__main__":
    main()
