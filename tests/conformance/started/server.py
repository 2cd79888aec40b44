"""The official client, started once; each command is a fork of it. Run by the client's own Python with a socket's path.

A command's start is an interpreter's start and a second of imports, the same for each. What a command does with its
words, environment, folder and output is its own. The home that the client looks up as it is imported is this process's.
"""

import gc
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress

from ai.backend.cli.__main__ import main

STANDARD = 3
"""How many open files come with a command: its input, its output and its errors."""
LONGEST = 1 << 20


def commands(path: str) -> None:
    """Take commands until the standard input ends. Returns in the process that is to be one, and nowhere else."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    print("ready", flush=True)
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while True:
            if any(key.fileobj is sys.stdin for key, _ in ready.select()):
                sys.exit()
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    become_one(connection)


def become_one(connection: socket.socket) -> None:
    """Become the command that the connection brings, and leave a process behind that tells how it ended."""
    message, files, _, _ = socket.recv_fds(connection, LONGEST, STANDARD)
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        os._exit(watch(child, connection))
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    wanted = json.loads(message)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    sys.argv[1:] = wanted["arguments"]


def watch(child: int, connection: socket.socket) -> int:
    """Tell the asker how the child ended; end it when the asker goes first."""
    ended = os.pidfd_open(child)
    with selectors.DefaultSelector() as ready:
        ready.register(ended, selectors.EVENT_READ)
        ready.register(connection, selectors.EVENT_READ)
        if not any(key.fileobj == ended for key, _ in ready.select()):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    return 0


if __name__ == "__main__":
    path, sys.argv = sys.argv[1], ["backend.ai"]
    commands(path)
    sys.exit(main())
