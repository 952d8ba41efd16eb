#!/usr/bin/env python3
"""In the place where E2B's packages start a gateway for MCP servers, one of the test's own: it has a tool for each server
that it is given, which says how it was configured.  Started again in the background; returns when that listens.

usage: mcp-gateway --config JSON     (GATEWAY_ACCESS_TOKEN in the environment)
"""
import http.server
import json
import os
import sys

TOKEN_FILE = "/etc/mcp-gateway/.token"
CONFIG = json.loads(sys.argv[2])
TOKEN = os.environ["GATEWAY_ACCESS_TOKEN"]


def result_of(method, params):
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "a test's gateway", "version": "1"}}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in CONFIG]}
    return {"content": [{"type": "text", "text": json.dumps(CONFIG[params["name"]])}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/mcp" or self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {})
            return
        asked = json.loads(body)
        self.answer(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result_of(asked["method"], asked.get("params", {}))})

    def answer(self, status, what):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if not all(isinstance(one, dict) for one in CONFIG.values()):
    sys.exit("mcp-gateway: each server wants an object")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 50005), Handler)
os.makedirs(os.path.dirname(TOKEN_FILE), exist_ok=True)
with open(os.open(TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
    file.write(TOKEN)
if os.fork() == 0:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    server.serve_forever()
