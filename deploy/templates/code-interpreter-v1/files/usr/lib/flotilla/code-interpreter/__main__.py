#!/usr/bin/env python3
"""The server inside a code interpreter's sandbox: code in, a line of JSON for each thing it shows out.

It speaks the protocol of E2B's code interpreter (`@e2b/code-interpreter`), on port 49999:

    GET    /health
    POST   /execute                 {code, context_id?, language?, env_vars?}: lines of JSON
    GET    /contexts                POST /contexts {language?, cwd?}
    DELETE /contexts/ID             POST /contexts/ID/restart

A context is a kernel with a namespace of its own.  One for Python is there from the start, warm: it
is in the template's snapshot; one for another language, when code of it comes.
"""
import http.server
import json
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request

from context import INTERRUPT_AGAIN_S, Died
from jupyter_context import JupyterContext
from process_context import BashContext, JavaContext, NodeContext, RContext

PORT = 49999
ENVD = "http://127.0.0.1:49983"
HOME = os.path.expanduser("~")
BODY_MAX = 64 << 20
CONTEXTS_MAX = 32

LANGUAGES = {"python": JupyterContext, "javascript": NodeContext, "typescript": NodeContext, "bash": BashContext, "r": RContext, "java": JavaContext}
ALIASES = {"python3": "python", "js": "javascript", "ts": "typescript", "sh": "bash"}

class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def language_of(text):
    name = (text or "python").lower()
    name = ALIASES.get(name, name)
    if name not in LANGUAGES:
        raise Refused(400, f"language {text}: there are {', '.join(LANGUAGES)}")
    return name


class Contexts:
    def __init__(self):
        self.lock = threading.Lock()
        self.making = threading.Lock()
        self.all = {}
        self.defaults = {}  # by language

    def start(self):
        self.choose(None, "python").warm()

    def make(self, language, cwd):
        language = language_of(language)
        cwd = os.path.join(HOME, cwd or "")
        if not os.path.isdir(cwd):
            raise Refused(400, f"cwd {cwd}: no such folder")
        if len(self.all) >= CONTEXTS_MAX:
            raise Refused(429, f"there are {CONTEXTS_MAX} contexts already")
        context = LANGUAGES[language](language, cwd)
        with self.lock:
            self.all[context.id] = context
        return context

    def find(self, name):
        with self.lock:
            if name not in self.all:
                raise Refused(404, f"Context {name} not found")
            return self.all[name]

    def choose(self, name, language):
        if name:
            return self.find(name)
        language = language_of(language)
        with self.making:
            context = self.defaults.get(language)
            if not context or context.id not in self.all:
                context = self.defaults[language] = self.make(language, HOME)
        return context

    def remove(self, name):
        context = self.find(name)
        with self.lock:
            self.all.pop(name, None)
        context.close()

    def list(self):
        with self.lock:
            return [context.described() for context in self.all.values()]


def sandbox_envs(token):
    """The variables that the sandbox was created with: only who may enter it may ask for them."""
    request = urllib.request.Request(ENVD + "/envs", headers={"X-Access-Token": token or ""})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    contexts = None

    def log_message(self, *_):
        pass

    def read_body(self):
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > BODY_MAX:
            self.close_connection = True
            raise Refused(413, "the body is too long, or of no length")
        raw = self.rfile.read(int(length))
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body is no object")
        return body

    def answer(self, status, value=None):
        text = b"" if value is None else value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def execute(self, body):
        code, own_envs = body.get("code"), body.get("env_vars") or {}
        if not isinstance(code, str):
            raise Refused(400, "code: a string is wanted")
        if not isinstance(own_envs, dict) or not all(isinstance(value, str) for value in own_envs.values()):
            raise Refused(400, "env_vars: an object of strings is wanted")
        context = self.contexts.choose(body.get("context_id"), body.get("language"))
        envs = sandbox_envs(self.headers.get("X-Access-Token"))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # Noticed while the code is silent too: nobody waits any more for what it does.
        over = threading.Event()
        threading.Thread(target=self.watch_client, args=(context, over), daemon=True).start()
        gone = False
        for event in context.run(code, envs, own_envs):
            line = json.dumps(event).encode() + b"\n"
            try:
                if not gone:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            except OSError:
                gone = True  # go on reading, so that the next execution finds a quiet kernel
                context.interrupt()
        over.set()
        if not gone:
            self.wfile.write(b"0\r\n\r\n")

    def watch_client(self, context, over):
        while not over.wait(0.5):
            try:
                is_gone = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                continue
            except OSError:
                is_gone = True
            if is_gone:
                context.interrupt()
                over.wait(INTERRUPT_AGAIN_S)

    def route(self):
        parts = [part for part in urllib.parse.urlsplit(self.path).path.split("/") if part]
        body = self.read_body()
        if self.command == "GET" and parts == ["health"]:
            self.answer(200, "OK")
        elif self.command == "POST" and parts == ["execute"]:
            self.execute(body)
        elif self.command == "GET" and parts == ["contexts"]:
            self.answer(200, self.contexts.list())
        elif self.command == "POST" and parts == ["contexts"]:
            self.answer(201, self.contexts.make(body.get("language"), body.get("cwd")).described())
        elif self.command == "DELETE" and len(parts) == 2 and parts[0] == "contexts":
            self.contexts.remove(parts[1])
            self.answer(204)
        elif self.command == "POST" and len(parts) == 3 and parts[0] == "contexts" and parts[2] == "restart":
            self.contexts.find(parts[1]).restart()
            self.answer(204)
        else:
            raise Refused(404, "there is nothing here")

    def handle_any(self):
        try:
            self.route()
        except Refused as refused:
            self.answer(refused.status, str(refused))
        except Died:
            self.answer(500, "the kernel does not start")
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = handle_any


def main():
    # A word of the debugger's at each start of a kernel that nobody here can do anything about.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    contexts = Contexts()
    contexts.start()
    Handler.contexts = contexts
    server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
