"""Floor 3: the wire. Listener (the only aiosmtpd import), sender (the only aiosmtplib import), TLS."""
