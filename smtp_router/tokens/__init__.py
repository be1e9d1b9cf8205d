"""Access tokens for logins at downstreams: where they come from, and how long they are used."""
