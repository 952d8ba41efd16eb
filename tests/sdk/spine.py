"""What a program written for E2B does first, through PyPI's package and nothing else: sandboxes,
commands and files, with the synchronous API and, shorter, with the asynchronous one.

usage: spine.py [TEST]...   (E2B_* in the environment, e2b installed)
"""
import asyncio
import os
import sys

sys.path.insert(0, os.environ["FLOTILLA_TESTS_LIB"])
from e2b import (AsyncSandbox, CommandExitException, NotFoundException, Sandbox, SandboxException,  # noqa: E402
                 SandboxQuery, SandboxState, TimeoutException)
from fleet import run_tests  # noqa: E402

UNKNOWN = "i00000000000000000000"
METADATA = {"suite": "pypi", "a b": "c&d"}
sandbox = None


def raises(kinds, run, *args, **options):
    """The exception of one of these kinds that a call ends with."""
    try:
        answer = run(*args, **options)
    except kinds as raised:
        return raised
    raise AssertionError(f"answered {answer!r}")


def stdout(command, **options):
    return sandbox.commands.run(command, **options).stdout


def a_sandbox_is_created_and_runs():
    global sandbox
    sandbox = Sandbox.create("base", timeout=300, metadata=METADATA, envs={"FROM_CREATE": "yes"})
    assert sandbox.is_running()
    info = sandbox.get_info()
    assert info.sandbox_id == sandbox.sandbox_id and info.metadata == METADATA, info
    assert info.state == SandboxState.RUNNING and info.end_at > info.started_at, info


def a_command_gives_its_output_and_exit_code():
    done = sandbox.commands.run("echo out; echo err >&2")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "out\n", "err\n"), done
    raised = raises(CommandExitException, sandbox.commands.run, "echo why >&2; exit 3")
    assert (raised.exit_code, raised.stderr) == (3, "why\n"), raised


def environment_working_directory_and_user_are_as_asked():
    assert stdout("echo $FROM_CREATE $MORE", envs={"MORE": "too"}) == "yes too\n"
    assert stdout("pwd", cwd="/tmp") == "/tmp\n"
    assert stdout("pwd; id -un") == "/home/user\nuser\n"
    assert stdout("id -un; echo $HOME", user="root") == "root\n/root\n"
    raises(SandboxException, sandbox.commands.run, "true", cwd="/nowhere")
    raises(Exception, sandbox.commands.run, "true", user="nobody-there")


def output_arrives_whole_and_in_order():
    seen = []
    done = sandbox.commands.run("for i in 1 2 3; do echo $i; done; echo late >&2; printf '\\303'; sleep 0.1; printf '\\251'",
                                on_stdout=lambda text: seen.append(text), on_stderr=lambda text: seen.append(text))
    assert done.stdout == "1\n2\n3\n\u00e9" and done.stderr == "late\n", done
    assert sorted("".join(seen)) == sorted(done.stdout + done.stderr), seen
    assert len(stdout("seq 1 200000")) == 1288895


def a_background_command_takes_input_and_is_listed():
    command = sandbox.commands.run("cat", background=True, stdin=True)
    assert command.pid in [process.pid for process in sandbox.commands.list()]
    command.send_stdin("through ")
    sandbox.commands.send_stdin(command.pid, "the pipe")
    command.close_stdin()
    assert command.wait().stdout == "through the pipe"
    assert command.pid not in [process.pid for process in sandbox.commands.list()]


def a_background_command_can_be_left_and_reconnected_to():
    command = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    command.disconnect()
    again = sandbox.commands.connect(command.pid)
    sandbox.commands.send_stdin(command.pid, "it\n")
    assert again.wait().stdout == "got it\n"


def a_command_can_be_killed():
    command = sandbox.commands.run("sleep 300", background=True)
    assert command.kill() is True
    assert raises(CommandExitException, command.wait).exit_code != 0
    assert command.kill() is False
    assert sandbox.commands.kill(999999) is False


def a_command_past_its_time_limit_is_ended():
    raises(TimeoutException, sandbox.commands.run, "sleep 300", timeout=1)
    assert stdout("echo still here") == "still here\n"


def files_are_written_read_listed_moved_and_removed():
    assert sandbox.files.write("hello.txt", "hello").path == "/home/user/hello.txt"
    assert sandbox.files.read("hello.txt") == "hello"
    assert sandbox.files.exists("hello.txt") is True and sandbox.files.exists("other.txt") is False
    assert sandbox.files.make_dir("deep/er") is True and sandbox.files.make_dir("deep/er") is False
    sandbox.files.write("/home/user/deep/er/there/new.bin", bytes([0, 1, 2, 255]))
    assert bytes(sandbox.files.read("deep/er/there/new.bin", format="bytes")) == bytes([0, 1, 2, 255])
    sandbox.files.write("empty", "")
    assert sandbox.files.read("empty") == ""
    assert {"hello.txt", "deep", "empty"} <= {entry.name for entry in sandbox.files.list("/home/user")}
    assert sandbox.files.rename("hello.txt", "deep/moved.txt").path == "/home/user/deep/moved.txt"
    info = sandbox.files.get_info("deep/moved.txt")
    assert (info.size, info.owner, info.permissions) == (5, "user", "-rw-r--r--"), info
    sandbox.files.remove("deep")
    assert sandbox.files.exists("deep") is False
    raises(NotFoundException, sandbox.files.read, "deep/moved.txt")
    raises(NotFoundException, sandbox.files.list, "/nowhere")
    raises(SandboxException, sandbox.files.read, "/home/user")


def several_files_and_large_ones_arrive_whole():
    sandbox.files.write_files([{"path": "a.txt", "data": "A"}, {"path": "b/\u00fc c.txt", "data": b"BC"}])
    assert sandbox.files.read("a.txt") == "A" and sandbox.files.read("b/\u00fc c.txt") == "BC"
    large = bytes(at * 31 & 255 for at in range(3 * 1024 * 1024 + 17))
    sandbox.files.write("large.bin", large)
    assert bytes(sandbox.files.read("large.bin", format="bytes")) == large
    assert b"".join(sandbox.files.read("large.bin", format="stream")) == large


def sandboxes_are_listed_and_filtered():
    def ids(**query):
        return [info.sandbox_id for info in Sandbox.list(query=SandboxQuery(**query)).next_items()]
    assert sandbox.sandbox_id in ids()
    assert ids(metadata=METADATA) == [sandbox.sandbox_id]
    assert ids(metadata={"suite": "another"}) == []
    assert ids(state=[SandboxState.PAUSED], metadata=METADATA) == []


def the_time_limit_is_extended_and_connect_keeps_it():
    before = sandbox.get_info().end_at
    sandbox.set_timeout(600)
    after = sandbox.get_info().end_at
    assert after > before
    again = Sandbox.connect(sandbox.sandbox_id)
    assert again.commands.run("echo $FROM_CREATE").stdout == "yes\n"
    assert again.get_info().end_at == after


def what_does_not_exist_is_told_as_such():
    raises(SandboxException, Sandbox.create, "no-such-template")
    raises(NotFoundException, Sandbox.connect, UNKNOWN)
    raises(NotFoundException, Sandbox.set_timeout, UNKNOWN, 60)
    assert Sandbox.kill(UNKNOWN) is False


def the_asynchronous_sandbox_does_the_same():
    async def drive():
        async with await AsyncSandbox.create("base", timeout=120) as one:
            runs = [one.commands.run(f"sleep 0.2; echo {number}") for number in range(8)]
            assert [done.stdout for done in await asyncio.gather(*runs)] == [f"{number}\n" for number in range(8)]
            command = await one.commands.run("cat", background=True, stdin=True)
            await one.commands.send_stdin(command.pid, "in")
            await one.commands.close_stdin(command.pid)
            assert (await command.wait()).stdout == "in"
            await one.files.write("f", "text")
            assert await one.files.read("f") == "text"
            assert one.sandbox_id in [info.sandbox_id for info in await AsyncSandbox.list().next_items()]
            return one.sandbox_id
    assert Sandbox.kill(asyncio.run(drive())) is False


def a_killed_sandbox_is_gone():
    assert sandbox.kill() is True
    assert sandbox.kill() is False
    assert sandbox.is_running() is False
    raises(Exception, sandbox.commands.run, "true")
    raises(NotFoundException, sandbox.get_info)


if __name__ == "__main__":
    run_tests([
        a_sandbox_is_created_and_runs,
        a_command_gives_its_output_and_exit_code,
        environment_working_directory_and_user_are_as_asked,
        output_arrives_whole_and_in_order,
        a_background_command_takes_input_and_is_listed,
        a_background_command_can_be_left_and_reconnected_to,
        a_command_can_be_killed,
        a_command_past_its_time_limit_is_ended,
        files_are_written_read_listed_moved_and_removed,
        several_files_and_large_ones_arrive_whole,
        sandboxes_are_listed_and_filtered,
        the_time_limit_is_extended_and_connect_keeps_it,
        what_does_not_exist_is_told_as_such,
        the_asynchronous_sandbox_does_the_same,
        a_killed_sandbox_is_gone,
    ])
