"""A program's files, through PyPI's package and nothing else, with the synchronous API (whose watchers are
polled) and the asynchronous one (whose watchers are streams).

usage: files.py [TEST]...   (E2B_* in the environment, e2b installed)
"""
import asyncio
import io
import os
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.environ["FLOTILLA_TESTS_LIB"])
from e2b import (AsyncSandbox, AuthenticationException, FileNotFoundException, FileType, InvalidArgumentException,  # noqa: E402
                 NotEnoughSpaceException, NotFoundException, Sandbox, SandboxException, TimeoutException)
from e2b.sandbox.filesystem.watch_handle import FilesystemEventType as Type  # noqa: E402
from fleet import run_tests  # noqa: E402

sandbox = None
DATA = bytes(at * 31 & 255 for at in range(200_003))


def raises(kinds, run, *args, **options):
    """The exception of one of these kinds that a call ends with."""
    try:
        answer = run(*args, **options)
    except kinds as raised:
        return raised
    raise AssertionError(f"answered {answer!r}")


async def raises_later(kinds, call):
    try:
        answer = await call
    except kinds as raised:
        return raised
    raise AssertionError(f"answered {answer!r}")


def a_sandbox_has_its_users_home():
    global sandbox
    sandbox = Sandbox.create("base", timeout=300)
    assert isinstance(sandbox.files.list("/home/user"), list)


def what_is_written_is_read_in_every_format():
    kinds = {"text": "gr\u00fc\u00dfe\n", "bytes": DATA, "file": io.BytesIO(DATA), "empty": ""}
    for kind, content in kinds.items():
        expected = content.encode() if isinstance(content, str) else DATA
        for options in {}, {"use_octet_stream": True}, {"gzip": True}:
            path = f"formats/{kind}-{len(options) and list(options)[0]}"
            if kind == "file":
                content = io.BytesIO(DATA)
            info = sandbox.files.write(path, content, **options)
            assert (info.path, info.name) == (f"/home/user/{path}", path.split("/")[1]), info
            assert bytes(sandbox.files.read(path, format="bytes")) == expected, (path, options)
            assert b"".join(sandbox.files.read(path, format="stream")) == expected, (path, options)
            if kind == "text":
                assert sandbox.files.read(path) == content
            assert sandbox.files.get_info(path).size == len(expected)


def many_files_are_written_at_once():
    many = [{"path": f"many/{at % 4}/\u00fc {at}", "data": f"file {at}"} for at in range(40)]
    infos = sandbox.files.write_files(many)
    assert [info.path for info in infos] == ["/home/user/" + file["path"] for file in many], infos
    assert sandbox.files.read("many/3/\u00fc 7") == "file 7"
    raises(InvalidArgumentException, sandbox.files.write_files, [{"path": "twice", "data": "1"}, {"path": "twice", "data": "2"}])


def metadata_is_kept_told_and_replaced():
    kept = {"author": "me", "two": "b c"}
    for options in {}, {"use_octet_stream": True}:
        assert sandbox.files.write("meta", "x", metadata={"Author": "me", "two": "b c"}, **options).metadata == kept
        assert sandbox.files.get_info("meta").metadata == kept
        assert [entry.metadata for entry in sandbox.files.list("/home/user") if entry.name == "meta"] == [kept]
        assert sandbox.files.rename("meta", "moved").metadata == kept
        assert sandbox.files.write("moved", "y", metadata={"three": "3"}, **options).metadata == {"three": "3"}
        assert not sandbox.files.write("moved", "z", **options).metadata
        assert not sandbox.files.get_info("moved").metadata
    raises(InvalidArgumentException, sandbox.files.write, "meta", "x", metadata={"k": "v" * 5000})


def folders_are_listed_to_a_depth_and_in_order():
    for path in "tree/b/x/y", "tree/a", "tree/B":
        assert sandbox.files.make_dir(path) is True
    sandbox.files.write("tree/b/x/z", "")
    sandbox.commands.run("cd tree && ln -s b/x link && ln -s loop loop")

    def paths(**options):
        return [entry.path.removeprefix("/home/user/tree/") for entry in sandbox.files.list("tree", **options)
                if entry.name != "loop"]
    assert paths() == ["B", "a", "b", "link"]
    assert paths(depth=9) == ["B", "a", "b", "b/x", "b/x/y", "b/x/z", "link"]
    link = sandbox.files.get_info("tree/link")
    assert (link.type, link.symlink_target, link.permissions) == (FileType.DIR, "/home/user/tree/b/x", "Lrwxrwxrwx"), link
    raises(InvalidArgumentException, sandbox.files.list, "tree/b/x/z")
    raises(FileNotFoundException, sandbox.files.list, "tree/gone")
    raises(SandboxException, sandbox.files.list, "tree/loop")
    raises(InvalidArgumentException, sandbox.files.list, "tree", depth=0)


def an_entry_tells_what_the_system_tells():
    sandbox.files.write("info", "12345")
    info = sandbox.files.get_info("info")
    assert (info.name, info.path, info.type, info.size, info.mode, info.permissions, info.owner, info.group) == \
        ("info", "/home/user/info", FileType.FILE, 5, 0o644, "-rw-r--r--", "user", "user"), info
    assert abs(info.modified_time.timestamp() - time.time()) < 60, info
    raises(FileNotFoundException, sandbox.files.get_info, "gone")


def files_are_moved_and_removed():
    sandbox.files.write("m/a", "A")
    assert sandbox.files.rename("m/a", "m/new/b").path == "/home/user/m/new/b"
    assert (sandbox.files.exists("m/a"), sandbox.files.exists("m/new/b")) == (False, True)
    raises(FileNotFoundException, sandbox.files.rename, "m/a", "m/c")
    assert sandbox.files.make_dir("m/new") is False
    raises(InvalidArgumentException, sandbox.files.make_dir, "m/new/b")
    sandbox.files.remove("m")
    sandbox.files.remove("m")
    raises(FileNotFoundException, sandbox.files.read, "m/a")
    raises(NotFoundException, sandbox.files.read, "m/a", format="bytes")
    raises(InvalidArgumentException, sandbox.files.read, "/home/user")
    raises(InvalidArgumentException, sandbox.files.write, "/home/user", "x")


def users_and_paths_are_as_asked():
    assert sandbox.files.write("~/tilde", "x").path == "/home/user/tilde"
    assert sandbox.files.write("rel", "x", user="root").path == "/root/rel"
    assert sandbox.files.get_info("/root/rel").owner == "root"
    assert sandbox.files.get_info("rel", user="root").path == "/root/rel"
    raises(AuthenticationException, sandbox.files.write, "x", "x", user="nobody-there")
    raises(AuthenticationException, sandbox.files.list, "/", user="nobody-there")
    raises(InvalidArgumentException, sandbox.files.read, "~root/x")


def kinds(events):
    return {(event.type, event.name) for event in events}


def changes_are_polled_for():
    sandbox.files.make_dir("watched/sub")
    watch = sandbox.files.watch_dir("watched", recursive=True, include_entry=True)
    assert watch.get_new_events() == []
    sandbox.files.write("watched/sub/f", "x")
    events = watch.get_new_events()
    assert {(Type.CREATE, "sub/f"), (Type.WRITE, "sub/f")} <= kinds(events), events
    assert all(event.entry.path == "/home/user/watched/sub/f" for event in events if event.name == "sub/f"), events
    sandbox.files.write("watched/one/two/f", "x")
    sandbox.files.rename("watched/one", "watched/1")
    sandbox.files.remove("watched/sub/f")
    assert {(Type.CREATE, "one"), (Type.RENAME, "one"), (Type.CREATE, "1"), (Type.REMOVE, "sub/f")} <= \
        kinds(watch.get_new_events())
    sandbox.files.write("watched/1/two/g", "x")
    assert (Type.WRITE, "1/two/g") in kinds(watch.get_new_events())
    watch.stop()
    raises(SandboxException, watch.get_new_events)
    other = sandbox.files.watch_dir("watched", allow_network_mounts=True)
    sandbox.files.write("watched/1/two/h", "x")
    assert other.get_new_events() == []
    other.stop()
    raises(FileNotFoundException, sandbox.files.watch_dir, "gone")
    raises(InvalidArgumentException, sandbox.files.watch_dir, "info")


def signed_addresses_open_one_file_for_a_while():
    def ask(url, data=None, **headers):
        request = urllib.request.Request(url, data, {
            "E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983", **headers})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()
    sandbox.files.write("signed file", "content")
    url = sandbox.download_url("signed file")
    assert ask(url) == (200, b"content")
    assert ask(sandbox.download_url("signed file", user="user", use_signature_expiration=60)) == (200, b"content")
    expired = ask(sandbox.download_url("signed file", use_signature_expiration=-60))
    assert expired[0] == 401 and b"signature is already expired" in expired[1], expired
    refused = ask(url.replace("signed", "other"))
    assert refused[0] == 401 and b"invalid signature" in refused[1], refused
    octets = {"Content-Type": "application/octet-stream"}
    assert ask(sandbox.upload_url("up/loaded"), b"uploaded", **octets)[0] == 200
    assert sandbox.files.read("up/loaded") == "uploaded"
    assert ask(url, b"uploaded", **octets)[0] == 401


def a_full_disk_is_told():
    sandbox.commands.run("df --output=avail -B1 / | tail -1 | xargs -I{} fallocate -l {} fill; "
                         "dd if=/dev/zero of=fill2 bs=1M; true", user="root", timeout=100)
    raises(NotEnoughSpaceException, sandbox.files.write, "more", DATA * 20)
    sandbox.commands.run("rm -f fill* ~/fill* /home/user/more", user="root")
    sandbox.files.write("more", "there is room again")


def the_asynchronous_sandbox_does_the_same():
    async def watch(files):
        events, ends = [], []
        await files.make_dir("watched")
        handle = await files.watch_dir("watched", on_event=events.append, on_exit=ends.append, recursive=True)
        await files.write("watched/one/two/f", "x")
        for _ in range(500):
            if (Type.CREATE, "one/two/f") in kinds(events):
                break
            await asyncio.sleep(0.02)
        assert {(Type.CREATE, "one"), (Type.CREATE, "one/two/f")} <= kinds(events), events
        await handle.stop()
        await files.watch_dir("watched", on_event=events.append, on_exit=ends.append, timeout=1)
        for _ in range(500):
            if any(isinstance(end, TimeoutException) for end in ends):
                break
            await asyncio.sleep(0.02)
        assert isinstance(ends[-1], TimeoutException), ends
        await raises_later(FileNotFoundException, files.watch_dir("gone", on_event=events.append))

    async def drive():
        async with await AsyncSandbox.create("base", timeout=120) as one:
            files = one.files
            for options in {}, {"use_octet_stream": True}, {"gzip": True}:
                await files.write("f", DATA, **options)
                assert bytes(await files.read("f", format="bytes")) == DATA
                assert b"".join([piece async for piece in await files.read("f", format="stream")]) == DATA
            assert (await files.write("f", "x", metadata={"a": "b"})).metadata == {"a": "b"}
            await asyncio.gather(*[files.write(f"n/{number}", str(number)) for number in range(50)])
            assert len(await files.list("n")) == 50
            assert await asyncio.gather(*[files.read(f"n/{number}") for number in range(50)]) == [str(n) for n in range(50)]
            await raises_later(FileNotFoundException, files.read("gone"))
            await raises_later(FileNotFoundException, files.get_info("gone"))
            await raises_later(InvalidArgumentException, files.list("f"))
            assert await files.make_dir("n") is False and await files.exists("n") is True
            assert (await files.rename("n/1", "o/1")).path == "/home/user/o/1"
            await files.remove("n")
            await watch(files)
    asyncio.run(drive())


def the_sandbox_is_killed():
    assert sandbox.kill() is True
    raises(SandboxException, sandbox.files.read, "info")


if __name__ == "__main__":
    run_tests([
        a_sandbox_has_its_users_home,
        what_is_written_is_read_in_every_format,
        many_files_are_written_at_once,
        metadata_is_kept_told_and_replaced,
        folders_are_listed_to_a_depth_and_in_order,
        an_entry_tells_what_the_system_tells,
        files_are_moved_and_removed,
        users_and_paths_are_as_asked,
        changes_are_polled_for,
        signed_addresses_open_one_file_for_a_while,
        a_full_disk_is_told,
        the_asynchronous_sandbox_does_the_same,
        the_sandbox_is_killed,
    ])
