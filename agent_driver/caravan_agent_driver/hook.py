"""The hooks' client: tell the node's agent that a kernel is to be cleaned, and wait for its answer.

Run as ``python3 -I -S hook.py cleanup <kernel>`` with CARAVAN_AGENT_SOCKET. Each kernel that ends starts one, so it
imports nothing that it does not need at once. Exit status: 0 done, 1 refused or not reachable, 2 wrong usage.
"""

import os
import socket
import sys
import time

REACH_SECONDS = 60.0
"""How long an agent that does not answer is waited for: it may be restarting."""
ANSWER_SECONDS = 120.0
LONGEST_PAUSE = 1.0


def ask(path: str, kernel: str) -> tuple[int, bytes]:
    """Send the request over the Unix socket at ``path``; gives the status and the body of the answer."""
    head = f"POST /hooks/cleanup/{kernel} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(path)
        connection.sendall(head.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    first, _, rest = answer.partition(b"\r\n")
    words = first.split()
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("the agent hung up")
    return int(words[1]), rest.partition(b"\r\n\r\n")[2]


def message(body: bytes) -> str:
    """Return the sentence in a problem document, or the text itself."""
    import json  # noqa: PLC0415 - only a failure pays for it

    try:
        problem = json.loads(body)
        return str(problem.get("msg") or problem["title"])
    except (ValueError, KeyError, AttributeError):
        return body.decode(errors="replace") or "the agent gave no reason"


def insist(path: str, kernel: str) -> tuple[int, bytes]:
    """Ask until the agent answers something else than 503, with growing pauses; bounded by REACH_SECONDS."""
    deadline = time.monotonic() + REACH_SECONDS
    pause = 0.02
    while True:
        try:
            status, body = ask(path, kernel)
            if status != 503:
                return status, body
        except OSError as err:
            status, body = 503, f"the agent cannot be reached at {path}: {err}".encode()
        if time.monotonic() + pause > deadline:
            return status, body
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def main(arguments: list[str]) -> int:
    """Run one hook."""
    path = os.environ.get("CARAVAN_AGENT_SOCKET")
    if len(arguments) != 2 or arguments[0] != "cleanup" or not path:
        print("usage: CARAVAN_AGENT_SOCKET=… hook.py cleanup <kernel>", file=sys.stderr)  # noqa: T201
        return 2
    status, body = insist(path, arguments[1])
    if 200 <= status < 300:
        return 0
    print(message(body), file=sys.stderr)  # noqa: T201 - Nomad shows a task's stderr
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
