"""A server of files on this machine, which can break off, and be asked to go on."""

import http.server
from typing import Any


class Server(http.server.ThreadingHTTPServer):
    """Serves files, in whole or from where a Range header says, and notes what was asked:
    the ranges of files, and paths of which the headers alone.

    `content` is served at every path that `files` does not have; `headers` come with every answer,
    and `etags` with that to a path.
    """

    content = b""
    knows_ranges = True
    cut_off_after: int | None = None  # bytes, once
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.heads: list[str] = []
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.status is not None:
            self.send_error(server.status)
            return
        content = self.content()
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not server.knows_ranges:
            start = 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.end_of_headers(body)
        cut, server.cut_off_after = server.cut_off_after, None
        self.wfile.write(body[:cut])

    def do_HEAD(self) -> None:
        self.server.heads.append(self.path)
        if self.server.status is not None:
            self.send_error(self.server.status)
            return
        self.send_response(200)
        self.end_of_headers(self.content())

    def content(self) -> bytes:
        return self.server.files.get(self.path, self.server.content)

    def end_of_headers(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        if self.path in self.server.etags:
            self.send_header("ETag", self.server.etags[self.path])
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
