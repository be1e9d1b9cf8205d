"""The side that asks."""

import json
import socket
from pathlib import Path

PATIENCE_S = 10.0


class NoAnswerError(Exception):
    """Nobody is there, or what is there does not answer; the text says what to do."""


def ask(path: Path, what: str, **more: object) -> object:
    """Ask the router whose control socket this is.

    Args:
        path: of the socket.
        what: what to ask for.
        more: what belongs to the question.

    Returns:
        The answer, as JSON has it.

    Raises:
        NoAnswerError: there is none.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            connection.sendall(json.dumps({"ask": what, **more}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        message = f"no router is running with this configuration: nobody listens on {path}"
        raise NoAnswerError(message) from error
    except PermissionError as error:
        message = f"{path} may only be used by the user that the router runs as"
        raise NoAnswerError(message) from error
    except OSError as error:
        message = f"the router behind {path} does not answer: {error.strerror or error}"
        raise NoAnswerError(message) from error
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict) or "answer" not in said:
        problem = said.get("error") if isinstance(said, dict) else "it hung up"
        raise NoAnswerError(f"the router did not answer: {problem}")
    return said["answer"]
