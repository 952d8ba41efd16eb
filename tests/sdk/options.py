"""Every call of E2B's package of PyPI with each of its options, of the synchronous classes or the asynchronous ones by the same
words (FLOTILLA_FACE: sync or async).  What a call does is other programs' matter where one of them looks at it; here it must go in
with what it is given, by way of a proxy where it can, and come back with an answer.

usage: options.py [TEST]...   (E2B_* in the environment, e2b installed)
"""
import asyncio
import datetime
import http.client
import http.server
import logging
import os
import sys
import tempfile
import threading
import urllib.parse

sys.path[:0] = [os.environ["FLOTILLA_TESTS_LIB"], os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")]
import e2b  # noqa: E402
from e2b import PtySize, SandboxException, SandboxQuery, SandboxState  # noqa: E402
from faces import ON_DATA, SYNC, Sandbox, Secret, Template, Volume, drain, loop, refused, streamed, wait  # noqa: E402
from fleet import run_tests  # noqa: E402


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes requests on, and counts those that carry the header of the options."""
    protocol_version = "HTTP/1.1"
    seen = 0

    def log_message(self, *_):
        pass

    def pass_on(self):
        url = urllib.parse.urlsplit(self.path)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Proxy.seen += "X-Of-Options" in self.headers
        onward = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        sent = {name: value for name, value in self.headers.items()
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "proxy-connection")}
        onward.request(self.command, url.path + (f"?{url.query}" if url.query else ""), body or None, sent)
        answer = onward.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        onward.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
proxy = f"http://127.0.0.1:{server.server_address[1]}"
HEADERS = {"X-Of-Options": "yes"}
LASTING = {"request_timeout": 60, "api_key": os.environ["E2B_API_KEY"], "api_url": os.environ["E2B_API_URL"],
           "sandbox_url": os.environ["E2B_SANDBOX_URL"], "domain": "of.options.test", "debug": False, "validate_api_key": False}
ALL = {**LASTING, "retries": 1, "headers": HEADERS, "api_headers": HEADERS, "proxy": proxy, "http_version": "1.1"}
ALL_2 = {**ALL, "http_version": "2"}
AS_ROOT = {"user": "root", "request_timeout": 60}
sandbox = None


def twice(call, *args, **options):
    """By each version of HTTP, with every option of a connection; the last answer."""
    before = Proxy.seen
    wait(call(*args, **options, **ALL))
    answer = wait(call(*args, **options, **ALL_2))
    assert Proxy.seen > before, f"{call} did not go by way of the proxy"
    return answer


def made(**options):
    return wait(Sandbox.create("base", timeout=300, **options))


# ---- sandboxes ----

def a_sandbox_is_created_with_each_option():
    global sandbox
    sandbox = made(**ALL, metadata={"of": "options"}, envs={"A": "b"}, secure=True, allow_internet_access=False, logger=logging.getLogger("x"),
                   idempotency_key="of-options", network={"allow_public_traffic": True, "mask_request_host": "x.test:${PORT}", "https_ports": [8443]},
                   lifecycle={"on_timeout": "kill", "auto_resume": False})
    again = wait(Sandbox.create(template="base", timeout=60, metadata={"of": "options"}, **ALL_2))
    assert again.sandbox_id != sandbox.sandbox_id and wait(again.kill(**ALL)) and wait(again.kill(**ALL_2)) is False
    # What streams does not go by way of a proxy that gathers answers whole.
    sandbox = wait(Sandbox.connect(sandbox.sandbox_id, timeout=300))


def a_time_limit_ends_or_pauses_in_each_way():
    for on_timeout in ("pause", {"action": "pause", "keep_memory": True}, {"action": "kill"}):
        one = made(lifecycle={"on_timeout": on_timeout, "auto_resume": False})
        word = on_timeout if isinstance(on_timeout, str) else on_timeout["action"]
        assert wait(one.get_info()).lifecycle["on_timeout"] == word
        wait(one.kill())
    for mode in ("full", "filesystem"):
        wait(made(lifecycle={"on_timeout": {"action": "pause", "mode": mode}}).kill())


def sandboxes_are_asked_for_found_and_extended():
    name = sandbox.sandbox_id
    assert twice(Sandbox.get_info, name).sandbox_id == twice(sandbox.get_info).sandbox_id == name
    twice(Sandbox.set_timeout, name, 400)
    twice(sandbox.set_timeout, 500)
    twice(Sandbox.get_metrics, name, start=datetime.datetime.now() - datetime.timedelta(hours=1), end=datetime.datetime.now())
    twice(sandbox.get_metrics, start=datetime.datetime.now() - datetime.timedelta(hours=1), end=datetime.datetime.now())
    assert twice(Sandbox.connect, name, timeout=600, logger=logging.getLogger("x")).sandbox_id == name
    assert twice(sandbox.connect, timeout=600).sandbox_id == name
    assert wait(sandbox.is_running(request_timeout=60))
    assert sandbox.get_host(80).startswith(f"80-{name}.") and "/mcp" in sandbox.get_mcp_url()
    for url in (sandbox.download_url("a", user="root", use_signature_expiration=60), sandbox.upload_url("a", user="root", use_signature_expiration=60)):
        url = url if isinstance(url, str) else wait(url)
        assert "signature_expiration" in url
    for operation in ("read", "write"):
        signature = e2b.get_signature("path", operation, "user", "token", expiration_in_seconds=60)
        assert signature["signature"].startswith("v1_"), signature


def lists_take_each_option():
    query = SandboxQuery(metadata={"of": "options"}, state=[SandboxState.RUNNING, SandboxState.PAUSED], template="base",
                         started_after=datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1))
    for order in ("asc", "desc"):
        for options in (ALL, ALL_2):
            pages = Sandbox.list(query=query, limit=1, order=order, **options)
            assert [one.sandbox_id for one in wait(pages.next_items(**options))] == [sandbox.sandbox_id]
    other = made(metadata={"of": "options"})
    pages = Sandbox.list(query=query, limit=1)
    wait(pages.next_items())
    assert len(wait(Sandbox.list(query=query, limit=1, next_token=pages.next_token).next_items())) == 1
    assert twice(Sandbox.kill, other.sandbox_id) is False


def sandboxes_are_paused_in_each_way():
    one = made(envs={"COLOUR": "blue"})
    name = one.sandbox_id

    def goes_on(**options):
        assert wait(Sandbox.connect(name, timeout=300, **options)).sandbox_id == name
        assert wait(one.commands.run("echo $COLOUR")).stdout == "blue\n"
    assert twice(Sandbox.pause, name, keep_memory=True) is False
    goes_on()
    assert twice(one.pause, keep_memory=True) is False
    goes_on(on_resume="restore")
    assert twice(Sandbox.beta_pause, name, keep_memory=True) is False
    wait(one.connect(timeout=300, on_resume="restore"))
    assert twice(one.beta_pause, keep_memory=True) is False
    goes_on(on_resume="reboot")
    wait(one.pause(mode="full"))
    wait(one.connect(timeout=300, on_resume="reboot"))
    for pause in (one.pause, one.beta_pause):
        for mode in ("full", "filesystem"):
            wait(pause(mode=mode))
            goes_on()
    for pause in (Sandbox.pause, Sandbox.beta_pause):
        for mode in ("full", "filesystem"):
            wait(pause(name, mode=mode, strict=True))
            goes_on()
    wait(one.pause(strict=True))
    assert wait(one.kill())


# ---- inside ----

def commands_take_each_option():
    seen = []

    def hear(text):
        seen.append(text)
    done = wait(sandbox.commands.run("id -un; pwd; echo $B; echo wrong >&2", background=False, envs={"B": "c"}, cwd="/tmp", on_stdout=hear, on_stderr=hear,
                                     stdin=False, timeout=30, retain_output=True, **AS_ROOT))
    assert done.stdout == "root\n/tmp\nc\n" and "".join(seen) and done.stderr == "wrong\n", done
    handle = wait(sandbox.commands.run("cat", background=True, stdin=True, timeout=60))
    assert any(one.pid == handle.pid for one in wait(sandbox.commands.list(request_timeout=60)))
    hearing = {} if SYNC else {"on_stdout": hear, "on_stderr": hear}
    other = wait(sandbox.commands.connect(handle.pid, timeout=60, request_timeout=60, retain_output=True, **hearing))
    wait(sandbox.commands.send_stdin(handle.pid, "by pid\n", request_timeout=60))
    wait(handle.send_stdin("by handle\n", request_timeout=60))
    wait(sandbox.commands.close_stdin(handle.pid, request_timeout=60))
    if SYNC:
        assert wait(handle.wait(on_stdout=hear, on_stderr=hear, on_pty=hear)).stdout == "by pid\nby handle\n"
    else:
        assert wait(handle.wait()).stdout == "by pid\nby handle\n"
    wait(other.disconnect())
    for end in ("close_stdin", "kill"):
        handle = wait(sandbox.commands.run("cat", background=True, stdin=True))
        wait(getattr(handle, end)(**({"request_timeout": 60} if end == "close_stdin" else {})))
    handle = wait(sandbox.commands.run("sleep 100", background=True))
    assert wait(sandbox.commands.kill(handle.pid, request_timeout=60)) is True


def input_is_streamed():
    handle = wait(sandbox.commands.run("head -n 2", background=True, stdin=True))
    streamed(sandbox.commands, handle.pid, "one\n", b"two\n")
    assert wait(handle.wait()).stdout == "one\ntwo\n"
    handle = wait(sandbox.pty.create(PtySize(rows=24, cols=80), **ON_DATA))
    streamed(sandbox.pty, handle.pid, "exit 7\n")
    try:
        wait(handle.wait())
        raise AssertionError("a shell that was told to exit with 7 did not")
    except e2b.CommandExitException as ended:
        assert ended.exit_code == 7, ended


def terminals_take_each_option():
    options = {"cwd": "/tmp", "envs": {"D": "e"}, "timeout": 60, **AS_ROOT}
    handle = wait(sandbox.pty.create(PtySize(rows=24, cols=80), **ON_DATA, **options))
    wait(sandbox.pty.resize(handle.pid, PtySize(rows=30, cols=100), request_timeout=60))
    wait(sandbox.pty.send_stdin(handle.pid, b"echo $D\n", request_timeout=60))
    other = wait(sandbox.pty.connect(handle.pid, **ON_DATA, timeout=60, request_timeout=60))
    wait(other.disconnect())
    assert wait(sandbox.pty.kill(handle.pid, request_timeout=60)) is True


def files_take_each_option():
    files = sandbox.files
    wait(files.write("/root/of", "text", gzip=True, use_octet_stream=True, metadata={"k": "v"}, **AS_ROOT))
    assert wait(files.read("/root/of", format="text", gzip=True, **AS_ROOT)) == "text"
    assert bytes(wait(files.read("/root/of", format="bytes", **AS_ROOT))) == b"text"
    assert drain(wait(files.read("/root/of", format="stream", stream_idle_timeout=30, **AS_ROOT))) == b"text"
    wait(files.write_files([{"path": "/root/a", "data": "1"}, {"path": "/root/b", "data": b"2"}], gzip=True, use_octet_stream=True, metadata={"k": "v"}, **AS_ROOT))
    assert wait(files.exists("/root/a", **AS_ROOT)) and wait(files.get_info("/root/a", **AS_ROOT)).owner == "root"
    assert wait(files.make_dir("/root/d", **AS_ROOT)) is True
    wait(files.rename("/root/b", "/root/d/b", **AS_ROOT))
    assert any(one.name == "b" for one in wait(files.list("/root", depth=2, **AS_ROOT)))
    watch = {"recursive": True, "include_entry": True, "allow_network_mounts": True, **AS_ROOT}
    if SYNC:
        handle = files.watch_dir("/root/d", **watch)
        files.write("/root/d/seen", "x", user="root")
        assert any(event.name == "seen" for event in handle.get_new_events(request_timeout=60))
        handle.stop(request_timeout=60)
    else:
        events = []
        handle = wait(files.watch_dir("/root/d", events.append, timeout=60, on_exit=lambda error: None, **watch))
        wait(files.write("/root/d/seen", "x", user="root"))
        wait(asyncio.wait_for(until(lambda: events), 20))
        wait(handle.stop())
    wait(files.remove("/root/d", **AS_ROOT))


async def until(holds):
    while not holds():
        await asyncio.sleep(0.02)


def git_takes_each_option():
    git, run = sandbox.git, {"user": "root", "envs": {"GIT_PAGER": "cat"}, "timeout": 60, "request_timeout": 60}
    at = {**run, "cwd": "/root"}
    wait(git.init("/root/bare", bare=True, initial_branch="main", **at))
    wait(git.init("/root/repo", initial_branch="main", **at))
    for scope in ("global", "local"):
        wait(git.configure_user("Of Options", "of@options.test", scope=scope, path="/root/repo", **at))
        wait(git.set_config("core.of", "yes", scope=scope, path="/root/repo", **at))
        assert wait(git.get_config("core.of", scope=scope, path="/root/repo", **at)) == "yes"
    wait(sandbox.files.write("/root/repo/a", "1", user="root"))
    wait(git.add("/root/repo", files=["a"], **at))
    wait(git.add("/root/repo", all=True, **at))
    wait(git.commit("/root/repo", "first", author_name="A", author_email="a@b.test", **at))
    wait(git.commit("/root/repo", "second", allow_empty=True, **at))
    wait(git.remote_add("/root/repo", "origin", "/root/bare", **at))
    wait(git.remote_add("/root/repo", "origin", "file:///root/bare", overwrite=True, fetch=False, **at))
    assert wait(git.remote_get("/root/repo", "origin", **at)) == "file:///root/bare"
    wait(git.push("/root/repo", remote="origin", branch="main", set_upstream=True, **at))
    wait(git.clone("file:///root/bare", path="/root/clone", branch="main", depth=1, **at))
    wait(git.pull("/root/repo", remote="origin", branch="main", **at))
    wait(git.create_branch("/root/repo", "side", **at))
    wait(git.checkout_branch("/root/repo", "main", **at))
    assert "side" in wait(git.branches("/root/repo", **at)).branches
    wait(git.delete_branch("/root/repo", "side", force=True, **at))
    assert wait(git.status("/root/repo", **at)).current_branch == "main"
    for mode in ("soft", "mixed", "hard", "merge", "keep"):
        wait(git.reset("/root/repo", mode=mode, target="HEAD", **at))
    wait(git.reset("/root/repo", paths=["a"], **at))
    wait(git.restore("/root/repo", ["a"], staged=True, worktree=True, source="HEAD", **at))
    wait(git.dangerously_authenticate("name", "word", host="git.test", protocol="https", **at))


def git_asks_with_a_password():
    """Of a server with TLS and a user of its own, inside the sandbox and by the name in its certificate."""
    git, home, who = sandbox.git, "/home/user", {"username": "ann", "password": "word"}
    for variable, name in (("CA", "ca.pem"), ("CERT", "cert.pem"), ("KEY", "key.pem"), ("GIT_SERVER", "git_server.py")):
        with open(os.environ[f"FLOTILLA_TEST_{variable}"]) as file:
            wait(sandbox.files.write(f"/tmp/{name}", file.read()))
    wait(sandbox.commands.run("echo 127.0.0.1 in.guest >>/etc/hosts; chmod 644 /tmp/*.pem", user="root"))
    wait(sandbox.commands.run(f"git init -q --bare -b main {home}/served/r.git && git -C {home}/served/r.git config http.receivepack true"))
    wait(sandbox.commands.run(f"python3 /tmp/git_server.py 8443 {home}/served /tmp/cert.pem /tmp/key.pem ann:word", background=True, timeout=0))
    wait(sandbox.commands.run("for i in $(seq 200); do (: </dev/tcp/127.0.0.1/8443) 2>/dev/null && exit; sleep 0.1; done; exit 1"))
    far, secured = "https://in.guest:8443/r.git", {"envs": {"GIT_SSL_CAINFO": "/tmp/ca.pem", "GIT_TERMINAL_PROMPT": "0"}}
    refused(e2b.GitAuthException, git.clone, far, path=f"{home}/no", **secured)
    wait(git.clone(far, path=f"{home}/mine", dangerously_store_credentials=True, **secured, **who))
    wait(sandbox.commands.run(f"git -C {home}/mine remote set-url origin {far}"))
    wait(git.commit(f"{home}/mine", "pushed", author_name="A", author_email="a@b.test", allow_empty=True))
    wait(git.push(f"{home}/mine", remote="origin", branch="main", **secured, **who))
    wait(git.pull(f"{home}/mine", remote="origin", branch="main", **secured, **who))


# ---- what begins from what runs ----

def forks_take_each_option():
    for call in (lambda **options: Sandbox.fork(sandbox.sandbox_id, logger=logging.getLogger("x"), **options), sandbox.fork):
        for options in (ALL, ALL_2):
            one, = wait(call(timeout=60, count=1, **options))
            assert one.sandbox_id != sandbox.sandbox_id, one
            assert wait(one.kill())


def snapshots_take_each_option():
    kept = [wait(sandbox.create_snapshot(name="of-options", mode="full", **options)) for options in (ALL, ALL_2)]
    kept += [wait(Sandbox.create_snapshot(sandbox.sandbox_id, name="of-options-2", mode="full", **options)) for options in (ALL, ALL_2)]
    assert len({one.snapshot_id for one in kept}) == 2, kept
    for options in (ALL, ALL_2):
        for pages in (Sandbox.list_snapshots(sandbox_id=sandbox.sandbox_id, name="of-options", limit=1, **options),
                      sandbox.list_snapshots(name="of-options", limit=1, **options)):
            assert [one.snapshot_id for one in wait(pages.next_items(**options))] == [kept[0].snapshot_id]
    for pages in (Sandbox.list_snapshots(limit=1), sandbox.list_snapshots(limit=1)):
        first, = wait(pages.next_items())
        again = (Sandbox if pages is None else sandbox).list_snapshots(limit=1, next_token=pages.next_token)
        assert wait(again.next_items())[0].snapshot_id != first.snapshot_id
    assert wait(Sandbox.list_snapshots(limit=1, next_token=pages.next_token).next_items())
    wait(made_of(kept[0].snapshot_id).kill())
    assert wait(Sandbox.delete_snapshot(kept[0].snapshot_id, **ALL)) and wait(Sandbox.delete_snapshot(kept[2].snapshot_id, **ALL_2))


def made_of(snapshot):
    return wait(Sandbox.create(snapshot, timeout=60))


def snapshots_of_files_alone_are_kept():
    for call in (sandbox.create_snapshot, lambda **options: Sandbox.create_snapshot(sandbox.sandbox_id, **options)):
        kept = wait(call(mode="filesystem"))
        wait(made_of(kept.snapshot_id).kill())
        wait(Sandbox.delete_snapshot(kept.snapshot_id))


# ---- what lies outside ----

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"  # nothing here reads it


def what_is_done_with_its_requests_is_set():
    plain = {"x.test": [{"transform": {"headers": {"A": "b"}}}]}
    rules = {"API.x.test": [{"transform": lambda ctx: {"headers": {"Authorization": "Bearer " + ctx.iam.tokens["aws"]}}}], **plain}
    proxy = {"address": "proxy.x.test:1080", "username": "u", "password": "p", "tls": {"server_name": "x.test", "ca_cert": PEM}}
    tokens = {"aws": {"audience": "sts.amazonaws.com", "token_type": "JWT-SVID"}}
    network = {"rules": rules, "egress_proxy": proxy, "dns_servers": ["192.0.2.53"], "allow_out": lambda ctx: list(ctx.rules),
               "deny_out": lambda ctx: [ctx.all_traffic]}
    one = made(network=network, iam={"tokens": tokens})
    told = wait(one.get_info()).network
    assert told["rules"] == {"api.x.test": [{"transform": {"headers": {"Authorization": "Bearer ${e2b.identity.tokens.aws}"}}}], **plain}, told
    assert told["egress_proxy"]["address"] == proxy["address"] and "password" not in told["egress_proxy"], told
    assert told["dns_servers"] == ["192.0.2.53"] and told["allow_out"] == ["API.x.test", "x.test"], told
    wait(one.kill())
    for call in (sandbox.update_network, lambda *words, **options: Sandbox.update_network(sandbox.sandbox_id, *words, **options)):
        wait(call(network={"rules": plain, "egress_proxy": {**proxy, "tls": True}, "dns_servers": []}))
        assert wait(sandbox.get_info()).network["rules"] == plain
        wait(call(network={"rules": plain, "egress_proxy": proxy, "dns_servers": []}))
    for bad, word in (({"rules": {"*": []}}, "invalid domain"), ({"egress_proxy": {"address": "x.test"}}, "HOST:PORT"), ({"dns_servers": ["x"]}, "dnsServers")):
        try:
            wait(sandbox.update_network(bad))
            raise AssertionError(bad)
        except SandboxException as error:
            assert word in str(error), error
    wait(sandbox.update_network({"allow_internet_access": False}))


def what_a_sandbox_may_reach_is_set():
    network = {"allow_out": ["192.0.2.1/32"], "deny_out": ["0.0.0.0/0"]}
    wait(made(network=network).kill())
    for call in (sandbox.update_network, lambda *words, **options: Sandbox.update_network(sandbox.sandbox_id, *words, **options)):
        twice(call, network=network)
        wait(call(network={"allow_internet_access": False}))


def templates_are_built_and_tagged():
    recipe = Template().from_template("base").run_cmd("true")
    size = {"cpu_count": 1, "memory_mb": 512, "min_free_disk_mb": 0, "on_build_logs": lambda entry: None}
    wait(Template.build(recipe, "of-options", tags=["v1"], **size, **ALL))
    wait(Template.build(recipe, alias="of-options", skip_cache=True, **size, **ALL_2))
    begun = wait(Template.build_in_background(recipe, "of-options", tags=["v1"], skip_cache=True, **size, **ALL))
    wait(Template.build_in_background(recipe, alias="of-options-too", **size, **ALL_2))
    twice(Template.get_build_status, begun, logs_offset=0)
    twice(Template.assign_tags, "of-options:v1", ["v2", "v3"])
    twice(Template.remove_tags, "of-options", "v2")


def volumes_are_mounted():
    volume = wait(Volume.create("of-mounts"))
    try:
        one = made(volume_mounts={"/mnt/one": volume})
        assert "/mnt/one" in wait(one.commands.run("cat /proc/mounts")).stdout
        wait(one.kill())
    finally:
        wait(Volume.destroy(volume.volume_id))


def secrets_take_each_option():
    wait(Secret.create("of-options", "value", metadata={"a": "b"}, **ALL))
    refused(e2b.SecretException, Secret.create, "of-options", "value", metadata={"a": "b"}, **ALL_2)
    wait(Secret.create("of-options-2", "value", **ALL_2))
    assert twice(Secret.update, "of-options", "other", metadata={"c": "d"}).version == 3
    assert twice(Secret.get_info, "of-options").metadata == {"c": "d"}
    assert twice(Secret.exists, "of-options") is True
    for options in (ALL, ALL_2):
        pages = Secret.list(limit=1, **options)
        assert [one.name for one in wait(pages.next_items(**options))] == ["of-options"]
    assert [one.name for one in wait(Secret.list(limit=1, next_token=pages.next_token).next_items())] == ["of-options-2"]
    assert twice(Secret.destroy, "of-options") is False and wait(Secret.destroy("of-options-2"))
    assert Secret.fill("name") == "${e2b.secrets.name}"
    assert Secret.iam_token(audience="a.test", token_type="JWT-SVID")


def volumes_take_each_option():
    wait(Volume.create("of-options", **ALL))
    volume = wait(Volume.create("of-options-2", **ALL_2))
    name = volume.volume_id
    assert twice(Volume.get_info, name).volume_id == twice(Volume.connect, name).volume_id == name
    assert len(twice(Volume.list)) == 2
    files = {"domain": "of.options.test", "debug": False, "request_timeout": 60, "headers": HEADERS, "token": volume.token, "proxy": proxy,
             "api_url": os.environ["E2B_VOLUME_API_URL"], "logger": logging.getLogger("x")}
    owner = {"uid": 1000, "gid": 1000, "mode": 0o644}
    for version in ("1.1", "2"):
        options = {**files, "http_version": version}
        wait(volume.make_dir("/d", force=True, **{**owner, "mode": 0o755}, **options))
        wait(volume.write_file("/d/f", b"text", force=True, **owner, **options))
        assert wait(volume.read_file("/d/f", format="text", **options)) == "text"
        assert bytes(wait(volume.read_file("/d/f", format="bytes", **options))) == b"text"
        assert drain(wait(volume.read_file("/d/f", format="stream", stream_idle_timeout=30, **options))) == b"text"
        assert wait(volume.get_info("/d/f", **options)).uid == 1000 and wait(volume.exists("/d/f", **options))
        wait(volume.update_metadata("/d/f", uid=0, gid=0, mode=0o600, **options))
        assert [one.name for one in wait(volume.list("/d", depth=1, **options))] == ["f"]
        wait(volume.remove("/d/f", **options))
    for one in wait(Volume.list()):
        assert twice(Volume.destroy, one.volume_id) is False


def templates_are_known_by_name():
    assert twice(Template.exists, "base") is True and twice(Template.alias_exists, "base") is True
    assert twice(Template.get_tags, "base")[0].tag == "default"


def recipes_are_written():
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "f"), "w") as file:
            file.write("x")

        def begin():
            return Template(file_context_path=folder, file_ignore_patterns=["*.o"])
        for start in (lambda t: t.from_alpine_image(variant="3"), lambda t: t.from_arch_image(variant="x"), lambda t: t.from_base_image(),
                      lambda t: t.from_bun_image(variant="1"), lambda t: t.from_debian_image(variant="12"), lambda t: t.from_fedora_image(variant="40"),
                      lambda t: t.from_node_image(variant="22"), lambda t: t.from_python_image(version="3.12"), lambda t: t.from_ubuntu_image(variant="24.04"),
                      lambda t: t.from_image("x.test/y", username="a", password="b"), lambda t: t.from_template("base"),
                      lambda t: t.from_aws_registry("x.test/y", "key", "secret", "eu-1"), lambda t: t.from_gcp_registry("x.test/y", {"project_id": "x"}),
                      lambda t: t.from_dockerfile("FROM base\nRUN true")):
            assert start(begin()).skip_cache()
        t = begin().skip_cache().from_base_image()
        t = t.copy("f", "/f", force_upload=True, user="root", mode=0o644, resolve_symlinks=True, gzip=True)
        t = t.copy_items([{"src": "f", "dest": "/g", "forceUpload": True, "user": "root", "mode": 0o644, "resolveSymlinks": True, "gzip": True}])
        t = t.remove("/f", force=True, recursive=True, user="root").rename("/g", "/h", force=True, user="root").make_dir("/d", mode=0o755, user="root")
        t = t.make_symlink("/h", "/i", user="root", force=True).run_cmd("true", user="root").set_workdir("/d").set_user("user").set_envs({"A": "b"})
        t = t.pip_install(packages=["a"], g=True).npm_install(packages=["a"], g=True, dev=False).npm_install(dev=True).bun_install(packages=["a"], g=True, dev=False)
        t = t.apt_install(["a"], no_install_recommends=True, fix_missing=True).git_clone("https://x.test/y", path="/y", branch="b", depth=1, user="root").skip_cache()
        for ready in (e2b.wait_for_port(80), e2b.wait_for_url("http://x.test", status_code=204), e2b.wait_for_process("x"), e2b.wait_for_file("/x"),
                      e2b.wait_for_timeout(1000), e2b.ReadyCmd("true")):
            assert ready.get_cmd()
        assert "FROM" in Template.to_dockerfile(begin().from_image("x").run_cmd("true"))
        assert "steps" in Template.to_json(t.set_start_cmd("true", e2b.ReadyCmd("true")))
        t = begin().from_base_image().set_ready_cmd("true")
        mcp = begin().from_template("mcp-gateway").add_mcp_server("exa")
        assert mcp
        box = begin().from_template("devcontainer").beta_dev_container_prebuild("/d").beta_set_dev_container_start("/d")
        assert box
    for level in ("debug", "info", "warn", "error"):
        assert e2b.default_build_logger(min_level=level)


def a_client_object_binds_its_options():
    for options in (ALL, ALL_2):
        client = e2b.E2B(**options)
        face = getattr(client, Sandbox.__name__)
        assert wait(face.get_info(sandbox.sandbox_id)).sandbox_id == sandbox.sandbox_id


def a_sandbox_is_killed():
    assert wait(Sandbox.kill(sandbox.sandbox_id)) and twice(sandbox.kill) is False


run_tests([
    a_sandbox_is_created_with_each_option,
    a_time_limit_ends_or_pauses_in_each_way,
    sandboxes_are_asked_for_found_and_extended,
    lists_take_each_option,
    sandboxes_are_paused_in_each_way,
    commands_take_each_option,
    input_is_streamed,
    terminals_take_each_option,
    files_take_each_option,
    git_takes_each_option,
    git_asks_with_a_password,
    forks_take_each_option,
    snapshots_take_each_option,
    snapshots_of_files_alone_are_kept,
    what_is_done_with_its_requests_is_set,
    what_a_sandbox_may_reach_is_set,
    templates_are_built_and_tagged,
    volumes_are_mounted,
    secrets_take_each_option,
    volumes_take_each_option,
    templates_are_known_by_name,
    recipes_are_written,
    a_client_object_binds_its_options,
    a_sandbox_is_killed,
])
