"""A stand-in for a supervised process: answers GET /healthz with 200, and misbehaves as told."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--exit", type=int, help="end at once with this code")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--grandchild", action="store_true", help="start a process that outlives its parent")
    parser.add_argument("--say", default="", help="a line for the log")
    arguments = parser.parse_args()
    if arguments.say:
        print(arguments.say, flush=True)
    if arguments.exit is not None:
        sys.exit(arguments.exit)
    if arguments.grandchild:
        print("grandchild", subprocess.Popen(["sleep", "1000"]).pid, flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if arguments.ignore_sigterm else lambda *_: sys.exit(0))
    HTTPServer(("127.0.0.1", arguments.port), _Health).serve_forever()


if __name__ == "__main__":
    main()
