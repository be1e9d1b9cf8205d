"""What a client says to the session and to the model, and the reply code that its form deserves.

`None` instead of a code: nothing is wrong with it.
"""

from tests.fuzz.grammar import RIGHT, b64
from tests.fuzz.model import Limits
from tests.fuzz.rig import BAD_SENDER, BUSY_SENDER, PASSWORD, USER

LIMITS = [
    Limits(octets=40, recipients=2, transactions=3, failures=1, strict=True),
    Limits(octets=10_000, recipients=4, transactions=1000, failures=2, strict=False),
    Limits(octets=200, recipients=100, transactions=1000, failures=10, strict=True),
]

SENDERS = {
    **dict.fromkeys([b"<>", b"<a@a.example>", b'<"a b"@a.example>', b"<a@[192.0.2.1]>"], None),
    **dict.fromkeys([b"<%b>" % BUSY_SENDER.encode(), b"<%b>" % BAD_SENDER.encode()], None),
    **dict.fromkeys(
        [b"<a>", b"a@a.example", b"<a@a.example", b"<a@-a>", b"<a b@c>", b"<postmaster>"], 501
    ),
    **dict.fromkeys([b"<@b.example:a@a.example>", "<ü@a.example>".encode()], 553),
}
RECIPIENTS = {
    **dict.fromkeys([b"<b@b.example>", b"<Postmaster>", b"<c@[IPv6:::1]>"], None),
    **dict.fromkeys(
        [b"<>", b"<b>", b"b@b.example", b"<b@b..example>", b"<b@b.example >", b"<b@b c.example>"], 501
    ),
    **dict.fromkeys([b"<@b.example:b@b.example>", "<ü@b.example>".encode()], 553),
}
MAIL_PARAMETERS = {
    b"": None,
    **dict.fromkeys([b" SIZE=1 BODY=8BITMIME", b" body=7bit RET=FULL ENVID=a+2Bb", b" AUTH=<>"], None),
    **dict.fromkeys([b" SIZE=x", b" SIZE=1 SIZE=1", b" BODY=BINARYMIME", b" RET", b" SMTPUTF8=1"], 501),
    **dict.fromkeys([b" FOO", b" NOTIFY=NEVER"], 555),
    b" REQUIRETLS": 530,
    b" SIZE=99999999": 552,
}
RCPT_PARAMETERS = {
    b"": None,
    **dict.fromkeys([b" NOTIFY=NEVER", b" notify=success,delay ORCPT=rfc822;b@b.example"], None),
    **dict.fromkeys([b" NOTIFY=x", b" ORCPT=b", b" NOTIFY"], 501),
    **dict.fromkeys([b" FOO=1", b" SIZE=1"], 555),
}

PLAIN_RESPONSES = {
    RIGHT: True,
    b64(f"{USER}\0{USER}\0{PASSWORD}"): True,
    b64(f"\0{USER}\0wrong"): False,
    b64(f"root\0{USER}\0{PASSWORD}"): False,
    b64(f"\0nobody@app.example\0{PASSWORD}"): False,
    **dict.fromkeys([b"*", b"!", b"YQ", b64("no separators"), b"", b"\xff"], None),
}
"""Whether they are right; `None`: given up or garbled, so that nothing is tried."""
NAMES = {b64(USER): True, b64("nobody"): False, b"": False, b"*": None, b"!": None}
PASSWORDS = {b64(PASSWORD): True, b64("wrong"): False, b"": False, b"*": None, b"Y": None}

FIXED = {
    **dict.fromkeys([b"NOOP", b"noop  x", b"Noop"], 250),
    **dict.fromkeys([b"VRFY a@a.example", b"VRFY"], 252),
    b"EXPN list": 502,
    b"HELP": 214,
    b"STARTTLS": 502,
    **dict.fromkeys(
        [b"STARTTLS x", b"RSET x", b"DATA x", b"QUIT x", b"EHLO", b"EHLO a b", b"HELO <>"], 501
    ),
    **dict.fromkeys(
        [b"", b" ", b"NO-OP", b"\xff", b"NOOP\0", b"MAIL\tFROM:<>", b"a\nb", b"QUIT\r"], 500
    ),
    **dict.fromkeys(
        [b"NOOP " + 506 * b"x", 20_000 * b"x", b"RCPT TO:<" + 1340 * b"x", 12_286 * b"\r"], 500
    ),
}
"""What has the same answer at any time, and changes nothing."""
GOOD_BYES = {
    b"QUIT": 221,
    b"GET / HTTP/1.1": 421,
    b"BDAT": 501,
    b"BDAT x LAST": 501,
    b"BDAT -1": 501,
    b"BDAT 123456789012345678901": 501,
}
