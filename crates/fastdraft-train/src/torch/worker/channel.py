"""Events to the program that started the worker, and its commands.

Every rank has the same two pipes; only rank 0 reads commands. One event is one write, so that
lines of several ranks do not mix.
"""

import json
import os
import sys


class Gone(Exception):
    """Nobody gives commands any more."""


class Channel:
    def __init__(self):
        # What libraries print must not get among the events.
        self.out = os.dup(1)
        os.dup2(2, 1)
        self.commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def send(self, event, **fields):
        line = json.dumps({"event": event, **fields}) + "\n"
        os.write(self.out, line.encode())

    def receive(self):
        line = self.commands.readline()
        if not line:
            raise Gone
        return json.loads(line)


def log(text):
    print(text, file=sys.stderr, flush=True)
