"""Runs inside a sandbox: an HTTP server that tells what it was asked, and echoes WebSocket messages.

usage: in_guest.py PORT [CERTIFICATE KEY]     with these it speaks TLS
"""
import base64
import hashlib
import http.server
import json
import ssl
import struct
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo_messages()
            return
        body = json.dumps({"path": self.path, "host": self.headers["Host"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def echo_messages(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while True:
            first, length = self.rfile.read(2)
            length &= 127
            if length == 126:
                length, = struct.unpack("!H", self.rfile.read(2))
            elif length == 127:
                length, = struct.unpack("!Q", self.rfile.read(8))
            mask = self.rfile.read(4)
            masked = int.from_bytes(self.rfile.read(length), "big")
            pattern = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
            payload = (masked ^ pattern).to_bytes(length, "big")
            if length < 126:
                head = bytes((first, length))
            elif length < 65536:
                head = bytes((first, 126)) + struct.pack("!H", length)
            else:
                head = bytes((first, 127)) + struct.pack("!Q", length)
            self.wfile.write(head + payload)
            if first & 15 == 8:  # close: said back, and done
                self.close_connection = True
                return

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
