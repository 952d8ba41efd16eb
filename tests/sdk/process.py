"""Commands and terminals, through PyPI's package and nothing else, with the synchronous API and with the
asynchronous one.

usage: process.py [TEST]...   (E2B_* in the environment, e2b installed)
"""
import asyncio
import os
import sys
import time

sys.path.insert(0, os.environ["FLOTILLA_TESTS_LIB"])
from e2b import (AsyncSandbox, AuthenticationException, CommandExitException, InvalidArgumentException,  # noqa: E402
                 NotFoundException, PtySize, Sandbox, SandboxException, TimeoutException)
from fleet import run_tests  # noqa: E402

SIZE = PtySize(rows=24, cols=80)
sandbox = None


def raises(kinds, run, *args, **options):
    """The exception of one of these kinds that a call ends with."""
    try:
        answer = run(*args, **options)
    except kinds as raised:
        return raised
    raise AssertionError(f"answered {answer!r}")


async def araises(kinds, awaitable):
    try:
        answer = await awaitable
    except kinds as raised:
        return raised
    raise AssertionError(f"answered {answer!r}")


def stdout(command, **options):
    return sandbox.commands.run(command, **options).stdout


def pids():
    return [process.pid for process in sandbox.commands.list()]


def show(handle, wanted):
    """What a terminal shows up to and with a text."""
    shown = b""
    for _, _, data in handle:
        shown += data or b""
        if wanted.encode() in shown:
            return shown
    raise AssertionError(f"{wanted!r} is not in {shown!r}")


def exit_codes_and_signals_are_told():
    global sandbox
    sandbox = Sandbox.create("base", timeout=300, envs={"FROM_CREATE": "yes", "BOTH": "sandbox"})
    for code in 1, 127, 255:
        raised = raises(CommandExitException, sandbox.commands.run, f"echo before; echo why >&2; exit {code}")
        assert (raised.exit_code, raised.stdout, raised.stderr, raised.error) == \
            (code, "before\n", "why\n", f"exit status {code}"), raised
    for signal, text in ("KILL", "killed"), ("TERM", "terminated"), ("HUP", "hangup"):
        raised = raises(CommandExitException, sandbox.commands.run, f"kill -{signal} $$")
        assert (raised.exit_code, raised.error) == (-1, f"signal: {text}"), raised


def environment_user_and_folder_are_as_asked():
    assert stdout("echo $FROM_CREATE $BOTH $MINE", envs={"BOTH": "request", "MINE": "a b"}) == "yes request a b\n"
    assert stdout("echo $HOME $USER $LOGNAME; id -u", user="root") == "/root root root\n0\n"
    assert stdout("id -un; pwd") == "user\n/home/user\n"
    assert stdout("mkdir -p below; pwd", cwd="/tmp") == "/tmp\n"
    raised = raises(InvalidArgumentException, sandbox.commands.run, "true", cwd="/nowhere")
    assert "cwd '/nowhere' does not exist" in str(raised), raised
    raises(AuthenticationException, sandbox.commands.run, "true", user="nobody-there")


def callbacks_hear_output_while_it_is_made():
    heard = []
    done = sandbox.commands.run("echo 1; sleep 1; echo 2 >&2; sleep 1; echo 3",
                                on_stdout=lambda text: heard.append((text, time.monotonic())),
                                on_stderr=lambda text: heard.append((text, time.monotonic())))
    assert [text for text, _ in heard] == ["1\n", "2\n", "3\n"], heard
    assert heard[2][1] - heard[0][1] > 1.5, heard
    assert (done.stdout, done.stderr) == ("1\n3\n", "2\n")


def background_commands_are_listed_killed_and_gone():
    command = sandbox.commands.run("sleep 300", background=True, envs={"A": "b"}, cwd="/tmp")
    info = next(process for process in sandbox.commands.list() if process.pid == command.pid)
    assert (info.cmd, list(info.args), dict(info.envs), info.cwd) == \
        ("/bin/bash", ["-l", "-c", "sleep 300"], {"A": "b"}, "/tmp"), info
    assert sandbox.commands.kill(command.pid) is True
    raises(CommandExitException, sandbox.commands.run, f"kill -0 {command.pid}")
    assert command.pid not in pids() and sandbox.commands.kill(command.pid) is False
    raised = raises(CommandExitException, command.wait)
    assert (raised.exit_code, raised.error) == (-1, "signal: killed"), raised


def input_reaches_a_process_until_it_is_closed():
    command = sandbox.commands.run("cat; echo end", background=True, stdin=True)
    sandbox.commands.send_stdin(command.pid, "first ")
    command.send_stdin("x" * 200_000)
    sandbox.commands.close_stdin(command.pid)
    assert command.wait().stdout == "first " + "x" * 200_000 + "end\n"
    raises(NotFoundException, sandbox.commands.send_stdin, command.pid, "late")
    command = sandbox.commands.run("sleep 300", background=True, stdin=False)
    raises(SandboxException, sandbox.commands.send_stdin, command.pid, "x")
    command.kill()


def input_is_streamed():
    if not hasattr(sandbox.commands, "stream_input"):
        raise AssertionError("this package is older than its input streams")
    command = sandbox.commands.run("cat; echo end", background=True, stdin=True)
    sandbox.commands.stream_input(command.pid, (f"{number}\n" for number in range(1000)))
    sandbox.commands.stream_input(command.pid, [b"y" * 300_000])
    sandbox.commands.close_stdin(command.pid)
    assert command.wait().stdout == "".join(f"{number}\n" for number in range(1000)) + "y" * 300_000 + "end\n"
    raises(NotFoundException, sandbox.commands.stream_input, 999999, ["x"])


def a_command_is_left_and_reconnected_to():
    command = sandbox.commands.run("read line; echo got $line; exit 4", background=True, stdin=True)
    command.disconnect()
    again = sandbox.commands.connect(command.pid)
    sandbox.commands.send_stdin(command.pid, "it\n")
    raised = raises(CommandExitException, again.wait)
    assert (raised.stdout, raised.exit_code) == ("got it\n", 4), raised
    late = sandbox.commands.connect(command.pid)  # its end is kept for a while
    assert raises(CommandExitException, late.wait).exit_code == 4
    raises(NotFoundException, sandbox.commands.connect, 999999)


def time_limits_end_processes_and_say_so():
    raises(TimeoutException, sandbox.commands.run, "echo $$ > pid; exec sleep 300", timeout=1.5)
    time.sleep(0.5)  # the client's own clock may be the first to say so
    raises(CommandExitException, sandbox.commands.run, "kill -0 $(cat pid)")
    assert stdout("sleep 1; echo done", timeout=0) == "done\n"


def a_terminal_is_used_resized_and_ended():
    terminal = sandbox.pty.create(SIZE, cwd="/tmp", envs={"MINE": "own"})
    sandbox.pty.send_stdin(terminal.pid, b'echo "<$TERM $MINE $FROM_CREATE $(pwd) $(id -un) $(stty size)>"\n')
    show(terminal, "<xterm-256color own yes /tmp user 24 80>")
    sandbox.pty.resize(terminal.pid, PtySize(rows=50, cols=132))
    sandbox.pty.send_stdin(terminal.pid, b'echo "size $(stty size)"; exit 7\n')
    shown = []
    assert raises(CommandExitException, terminal.wait, on_pty=shown.append).exit_code == 7
    assert b"size 50 132" in b"".join(shown), shown
    raises(NotFoundException, sandbox.pty.resize, terminal.pid, SIZE)


def a_terminal_is_reconnected_to_and_killed():
    terminal = sandbox.pty.create(SIZE, user="root", timeout=0)
    sandbox.pty.send_stdin(terminal.pid, b"export KEPT=it; echo rea''dy\n")
    show(terminal, "ready")
    terminal.disconnect()
    again = sandbox.pty.connect(terminal.pid)
    sandbox.pty.send_stdin(terminal.pid, b'echo "kept $KEPT by $(id -un)"\n')
    show(again, "kept it by root")
    raises(SandboxException, sandbox.commands.send_stdin, terminal.pid, "x")
    raises(SandboxException, sandbox.commands.close_stdin, terminal.pid)
    assert sandbox.pty.kill(terminal.pid) is True and sandbox.pty.kill(terminal.pid) is False
    assert raises(CommandExitException, again.wait).error == "signal: killed"


def a_terminal_takes_streamed_input():
    terminal = sandbox.pty.create(SIZE)
    sandbox.pty.stream_input(terminal.pid, [b"echo $((6", b"*7))\n", "exit\n"])
    shown = []
    assert terminal.wait(on_pty=shown.append).exit_code == 0
    assert b"42\r\n" in b"".join(shown), shown


async def drive_commands(one):
    runs = [one.commands.run(f"sleep 0.3; echo {number}") for number in range(20)]
    assert [done.stdout for done in await asyncio.gather(*runs)] == [f"{number}\n" for number in range(20)]
    heard = []
    command = await one.commands.run("while read line; do echo got $line; done", background=True, stdin=True,
                                     on_stdout=heard.append)
    again = await one.commands.connect(command.pid)
    await command.send_stdin("it\n")
    await one.commands.close_stdin(command.pid)
    assert (await command.wait()).stdout == (await again.wait()).stdout == "got it\n" == "".join(heard)
    assert (await araises(CommandExitException, one.commands.run("exit 3"))).exit_code == 3
    await araises(TimeoutException, one.commands.run("sleep 300", timeout=1))
    await araises(InvalidArgumentException, one.commands.run("true", cwd="/nowhere"))
    await araises(NotFoundException, one.commands.connect(999999))
    command = await one.commands.run("sleep 300", background=True)
    assert await command.kill() is True and await command.kill() is False
    assert (await araises(CommandExitException, command.wait())).error == "signal: killed"


async def drive_streamed_input(one):
    command = await one.commands.run("cat", background=True, stdin=True)
    async with one.commands.stream_input(command.pid) as stream:
        for number in range(100):
            await stream.send(f"{number}\n")
            await asyncio.sleep(0.01)
    await one.commands.close_stdin(command.pid)
    assert (await command.wait()).stdout == "".join(f"{number}\n" for number in range(100))


async def drive_terminal(one):
    shown, seen = [], asyncio.Event()

    def on_data(data):
        shown.append(data)
        if b"50 132" in b"".join(shown):
            seen.set()
    terminal = await one.pty.create(SIZE, on_data=on_data)
    await one.pty.resize(terminal.pid, PtySize(rows=50, cols=132))
    await one.pty.send_stdin(terminal.pid, b"stty size\n")
    await asyncio.wait_for(seen.wait(), 20)
    assert await one.pty.kill(terminal.pid) is True
    assert (await araises(CommandExitException, terminal.wait())).exit_code == -1


def asynchronously(drive):
    async def run():
        one = await AsyncSandbox.connect(sandbox.sandbox_id)
        await drive(one)
    asyncio.run(run())


def asynchronous_commands_do_the_same():
    asynchronously(drive_commands)


def asynchronous_input_is_streamed():
    asynchronously(drive_streamed_input)


def an_asynchronous_terminal_does_the_same():
    asynchronously(drive_terminal)


def a_killed_sandbox_has_no_commands():
    assert sandbox.kill() is True
    raises(Exception, sandbox.commands.list)


if __name__ == "__main__":
    run_tests([
        exit_codes_and_signals_are_told,
        environment_user_and_folder_are_as_asked,
        callbacks_hear_output_while_it_is_made,
        background_commands_are_listed_killed_and_gone,
        input_reaches_a_process_until_it_is_closed,
        input_is_streamed,
        a_command_is_left_and_reconnected_to,
        time_limits_end_processes_and_say_so,
        a_terminal_is_used_resized_and_ended,
        a_terminal_is_reconnected_to_and_killed,
        a_terminal_takes_streamed_input,
        asynchronous_commands_do_the_same,
        asynchronous_input_is_streamed,
        an_asynchronous_terminal_does_the_same,
        a_killed_sandbox_has_no_commands,
    ])
