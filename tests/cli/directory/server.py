"""A web server over TLS for the tests: files with ETag and Last-Modified, and paths that misbehave on purpose."""

import hashlib
import http.server
import os
import ssl
import sys
import time

folder, certificate, key, log = sys.argv[1:5]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers=(), body=b""):
        with open(log, "a", encoding="ascii") as lines:
            lines.write(f"{self.path} {status} {self.headers.get('Accept-Encoding', '-')}\n")
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/to/"):
            # /to/<host:port>/<path>, or a path alone
            target = self.path[len("/to/"):]
            self.answer(302, [("Location", f"https://{target}" if ":" in target else f"/{target}")])
        elif self.path.endswith("/moved"):
            # Relative to the folder, as RFC 9110 section 10.2.2 allows.
            self.answer(302, [("Location", "../.well-known/digital-stamp")])
        elif self.path == "/round":
            self.answer(302, [("Location", "/round")])
        elif self.path == "/plain":
            self.answer(302, [("Location", f"http://{self.headers['Host']}/.well-known/digital-stamp")])
        elif self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 30))
            self.end_headers()
            sent = 0
            try:
                while sent < 1 << 30:
                    self.wfile.write(b" " * 65536)
                    sent += 65536
            except OSError:
                pass
            with open(log, "a", encoding="ascii") as lines:
                lines.write(f"/large {sent}\n")
            self.close_connection = True
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            try:
                for _ in range(1000):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.2)
            except OSError:
                pass
            self.close_connection = True
        else:
            try:
                with open(os.path.join(folder, self.path.lstrip("/")), "rb") as file:
                    body = file.read()
            except OSError:
                self.answer(404)
                return
            tag = '"' + hashlib.sha256(body).hexdigest() + '"'
            if self.headers.get("If-None-Match") == tag:
                self.answer(304, [("ETag", tag)])
            else:
                self.answer(200, [("ETag", tag), ("Content-Type", "application/json")], body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
# The handshake is each connection's own affair: one that fails must not end the server.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
