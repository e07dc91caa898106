"""Between a client and an S3 server: hands requests on, and spoils those that a test asks for."""

from __future__ import annotations

import http.client
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit


@dataclass
class Proxy:
    """`faults`: (kind of request, what happens to it, how often). Kinds are those of `kind_of`; faults are
    `unavailable` (503, not handed on), `lost` (handed on, its answer is not) and `cut` (half the body comes back).
    """

    url: str = ""
    faults: list[list[object]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def spoil(self, kind: str, fault: str, times: int = 1) -> None:
        self.faults.append([kind, fault, times])

    def fault_of(self, kind: str) -> str:
        self.seen[kind] += 1
        for rule in self.faults:
            if rule[0] == kind and int(str(rule[2])) > 0:
                rule[2] = int(str(rule[2])) - 1
                return str(rule[1])
        return ""


def kind_of(method: str, path: str) -> str:
    """get, head, put, part, complete, ..."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if "partNumber" in query:
        return "part"
    if "uploadId" in query and method == "POST":
        return "complete"
    return method.lower()


@contextmanager
def faulty_proxy(target: str) -> Iterator[Proxy]:
    """A proxy before `target`. The Host header goes through unchanged: the signature covers it."""
    proxy = Proxy()
    host = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault_of(kind_of(self.command, self.path))
            if fault == "unavailable":
                self.answer(503, {}, b"<Error><Code>ServiceUnavailable</Code></Error>")
                return
            backend = http.client.HTTPConnection(host, timeout=60)
            backend.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    backend.putheader(name, value)
            backend.endheaders(body or None)
            answer = backend.getresponse()
            content = answer.read()
            backend.close()
            if fault == "lost":
                self.hang_up()
                return
            self.answer(answer.status, dict(answer.getheaders()), content, cut=fault == "cut")

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.hang_up()

        def hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
