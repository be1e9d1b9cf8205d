"""Floor above the wire: a Unix socket on which the router's own commands ask a running router.

A question is one line with a JSON object, `{"ask": "trace", "id": "…"}`; so is the answer, which is
`{"answer": …}` or `{"error": "…"}`. One question for each connection. Who may open the socket may ask:
only the router's own user.
"""
