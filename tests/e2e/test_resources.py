"""A process that may open few files, some of which it has lost already."""

from contextlib import ExitStack
from pathlib import Path

from smtp_router.smtp.guard import RESERVED_FILES
from tests.rawclient import RawClient, RawReply
from tests.running import Serve, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"

MAX_FILES = 120
LOST_FILES = 60
MOST = (MAX_FILES - RESERVED_FILES) // 2 * 9 // 10
"""As many clients from one address as there may be: each may need another for a downstream."""

HOARDER = f'''"""A plugin that opens files, and never closes them."""

import os

from smtp_router import hookimpl

hoard = [os.open(os.devnull, os.O_RDONLY) for _ in range({LOST_FILES})]


@hookimpl
def after_send(attempt):
    pass
'''


def test_with_the_last_descriptors_an_extra_client_hears_why_it_cannot_stay(tmp_path: Path) -> None:
    """It is not left without a word, and those who are in can go on."""
    (tmp_path / "hoarder.py").write_text(HOARDER)
    with ExitStack() as stack:
        witness = stack.enter_context(Witness())
        configuration = one_user(witness)
        configuration["users"][0]["plugins"] = ["./hoarder.py"]
        router = stack.enter_context(Serve(configuration, tmp_path, before=f"ulimit -n {MAX_FILES}"))
        sender = stack.enter_context(router.client())

        def connect() -> tuple[RawClient, RawReply]:
            client = stack.enter_context(router.connect(read_banner=False))
            return client, client.reply()

        inside: list[RawClient] = []
        while (arrived := connect())[1].code == 220:
            inside.append(arrived[0])
            assert len(inside) < MOST - 1, "as many as without the hoarder"
        assert len(inside) > 2
        for _ in range(2 * MAX_FILES):
            extra, reply = connect()
            assert (reply.code, reply.enhanced) == (421, "4.7.0")
            assert extra.at_eof()
            extra.close()
        assert sender.transaction(A, [B], HELLO).code == 250  # there is a descriptor for it
        assert [client.command(b"NOOP").code for client in inside] == [250] * len(inside)
        inside[0].close()
        assert any(connect()[1].code == 220 for _ in range(1000))
        assert not router.log.find("cannot accept")
        assert len(witness.deliveries) == 1
