"""What goes wrong, method by method: with a key that is none, about what is not there, and of a sandbox that is over.  Each says so
by the very class that E2B's package of PyPI has for it, and soon; of the synchronous classes or the asynchronous ones by the same
words (FLOTILLA_FACE: sync or async).

usage: errors.py [TEST]...   (E2B_* in the environment, e2b installed)
"""
import os
import sys
import time

sys.path[:0] = [os.environ["FLOTILLA_TESTS_LIB"], os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")]
import e2b  # noqa: E402
from e2b import (AuthenticationException, BuildException, CommandExitException, FileNotFoundException, InvalidArgumentException,  # noqa: E402
                 NotFoundException, PtySize, SandboxException, SandboxNotFoundException, SandboxNotRunningException, SecretException,
                 SecretNotFoundException, TemplateException, TimeoutException, VolumeException, VolumeNotFoundException,
                 VolumePathNotFoundException)
from faces import ON_DATA, SYNC, Sandbox, Secret, Template, Volume, drain, loop, refused, streamed, wait  # noqa: E402
from fleet import run_tests  # noqa: E402

UNKNOWN = "i00000000000000000000"
NOBODY = 4_000_000  # no process has this number
STRANGE = {"api_key": "e2b_" + "0" * 40}
CLOSED = {"allow_internet_access": False}
SIZE, TERMINAL = {"cpu_count": 1, "memory_mb": 512}, PtySize(rows=24, cols=80)
WATCHER = () if SYNC else (lambda event: None,)
TESTS = []


def promise(test):
    TESTS.append(test)
    return test


def each_is(title, kind, calls):
    """Each of these calls ends with this class of exception, and no other below it, within ten seconds."""
    for name, call in calls.items():
        def test(name=name, call=call):
            began = time.monotonic()
            error = refused(Exception, call)
            assert type(error) is kind, f"{type(error).__name__}: {error}"
            assert time.monotonic() - began < 10, "it took its time"
        test.__name__ = f"{title}.{name}"
        TESTS.append(test)


def build_info(template="none"):
    return e2b.BuildInfo(template, "00000000-0000-4000-8000-000000000000", template, template)


def recipe():
    return Template().from_template("base").run_cmd("true")


each_is("a_key_that_is_none", AuthenticationException, {
    "Sandbox.create": lambda: Sandbox.create("base", **STRANGE),
    "Sandbox.connect": lambda: Sandbox.connect(UNKNOWN, **STRANGE),
    "Sandbox.list": lambda: Sandbox.list(**STRANGE).next_items(),
    "Sandbox.get_info": lambda: Sandbox.get_info(UNKNOWN, **STRANGE),
    "Sandbox.set_timeout": lambda: Sandbox.set_timeout(UNKNOWN, 1, **STRANGE),
    "Sandbox.kill": lambda: Sandbox.kill(UNKNOWN, **STRANGE),
    "Sandbox.get_metrics": lambda: Sandbox.get_metrics(UNKNOWN, **STRANGE),
    "Sandbox.update_network": lambda: Sandbox.update_network(UNKNOWN, {}, **STRANGE),
    "Sandbox.pause": lambda: Sandbox.pause(UNKNOWN, **STRANGE),
    "Sandbox.beta_pause": lambda: Sandbox.beta_pause(UNKNOWN, **STRANGE),
    "Sandbox.create_snapshot": lambda: Sandbox.create_snapshot(UNKNOWN, **STRANGE),
    "Sandbox.list_snapshots": lambda: Sandbox.list_snapshots(**STRANGE).next_items(),
    "Sandbox.delete_snapshot": lambda: Sandbox.delete_snapshot("none", **STRANGE),
    "Sandbox.fork": lambda: Sandbox.fork(UNKNOWN, **STRANGE),
    "Secret.create": lambda: Secret.create("name", "value", **STRANGE),
    "Secret.update": lambda: Secret.update("name", "value", **STRANGE),
    "Secret.get_info": lambda: Secret.get_info("name", **STRANGE),
    "Secret.exists": lambda: Secret.exists("name", **STRANGE),
    "Secret.destroy": lambda: Secret.destroy("name", **STRANGE),
    "Secret.list": lambda: Secret.list(**STRANGE).next_items(),
    "Template.build": lambda: Template.build(recipe(), "of-errors", **SIZE, **STRANGE),
    "Template.build_in_background": lambda: Template.build_in_background(recipe(), "of-errors", **SIZE, **STRANGE),
    "Template.get_build_status": lambda: Template.get_build_status(build_info(), **STRANGE),
    "Template.exists": lambda: Template.exists("base", **STRANGE),
    "Template.alias_exists": lambda: Template.alias_exists("base", **STRANGE),
    "Template.get_tags": lambda: Template.get_tags("base", **STRANGE),
    "Template.assign_tags": lambda: Template.assign_tags("base", ["x"], **STRANGE),
    "Template.remove_tags": lambda: Template.remove_tags("base", ["x"], **STRANGE),
    "Volume.create": lambda: Volume.create("of-errors", **STRANGE),
    "Volume.connect": lambda: Volume.connect("vol_none", **STRANGE),
    "Volume.get_info": lambda: Volume.get_info("vol_none", **STRANGE),
    "Volume.list": lambda: Volume.list(**STRANGE),
    "Volume.destroy": lambda: Volume.destroy("vol_none", **STRANGE),
    "E2B.Sandbox.list": lambda: getattr(e2b.E2B(**STRANGE), Sandbox.__name__).list().next_items(),
})

each_is("a_sandbox_that_is_not_there", SandboxNotFoundException, {
    "Sandbox.connect": lambda: Sandbox.connect(UNKNOWN),
    "Sandbox.get_info": lambda: Sandbox.get_info(UNKNOWN),
    "Sandbox.set_timeout": lambda: Sandbox.set_timeout(UNKNOWN, 1),
    "Sandbox.get_metrics": lambda: Sandbox.get_metrics(UNKNOWN),
    "Sandbox.update_network": lambda: Sandbox.update_network(UNKNOWN, CLOSED),
    "Sandbox.pause": lambda: Sandbox.pause(UNKNOWN),
    "Sandbox.beta_pause": lambda: Sandbox.beta_pause(UNKNOWN),
    "Sandbox.create_snapshot": lambda: Sandbox.create_snapshot(UNKNOWN),
    "Sandbox.fork": lambda: Sandbox.fork(UNKNOWN),
})


@promise
def what_is_not_there_cannot_be_taken_away():
    assert wait(Sandbox.kill(UNKNOWN)) is False
    assert wait(Sandbox.delete_snapshot("no-such-snapshot")) is False
    assert wait(Secret.destroy("no-such-secret")) is False
    assert wait(Secret.exists("no-such-secret")) is False
    assert wait(Volume.destroy("vol_none")) is False
    assert wait(Template.exists("no-such-template")) is False


each_is("a_template_that_is_not_there", TemplateException, {
    "Template.get_tags": lambda: Template.get_tags("no-such-template"),
    "Template.assign_tags": lambda: Template.assign_tags("no-such-template:v1", ["x"]),
    "Template.remove_tags": lambda: Template.remove_tags("no-such-template", ["x"]),
})

each_is("a_build_that_cannot_be", BuildException, {
    "Template.get_build_status": lambda: Template.get_build_status(build_info("no-such-template")),
    "Template.build": lambda: Template.build(Template().from_template("no-such-template"), "of-errors", **SIZE),
    "Template.build_in_background": lambda: Template.build_in_background(recipe(), "Not/A:Name", **SIZE),
})

each_is("a_text_that_cannot_be_made", ValueError, {
    "get_signature": lambda: e2b.get_signature("f", "read", "user", None),
    "Template.to_dockerfile": lambda: Template.to_dockerfile(recipe()),
})

each_is("a_file_from_elsewhere", TemplateException, {
    "templateBuilder.copy": lambda: recipe().copy("/etc/passwd", "/x"),
    "templateBuilder.copy_items": lambda: recipe().copy_items([{"src": "../x", "dest": "/x"}]),
})

each_is("a_part_of_another_template", BuildException, {
    "templateBuilder.add_mcp_server": lambda: recipe().add_mcp_server("exa"),
    "templateBuilder.beta_dev_container_prebuild": lambda: recipe().beta_dev_container_prebuild("/x"),
    "templateBuilder.beta_set_dev_container_start": lambda: recipe().beta_set_dev_container_start("/x"),
})

each_is("words_that_are_missing", InvalidArgumentException, {
    "Secret.fill": lambda: Secret.fill(""),
    "template.from_image": lambda: Template().from_image("x.test/y", username="a"),
})

each_is("a_volume_that_is_not_there", VolumeNotFoundException, {
    "Volume.connect": lambda: Volume.connect("vol_none"),
    "Volume.get_info": lambda: Volume.get_info("vol_none"),
})

each_is("a_secret_that_is_not_there", SecretNotFoundException, {
    "Secret.get_info": lambda: Secret.get_info("no-such-secret"),
    "Secret.update": lambda: Secret.update("no-such-secret", "value"),
})

each_is("what_cannot_be_made", SandboxException, {
    "Sandbox.create": lambda: Sandbox.create("no-such-template"),
    "Sandbox.create.timeout": lambda: Sandbox.create("base", timeout=25 * 3600),
})

each_is("a_secret_that_cannot_be", SecretException, {
    "Secret.create": lambda: Secret.create("not possible", "value"),
    "Secret.create.empty": lambda: Secret.create("empty", ""),
})

# ---- a volume's files ----

volume = wait(Volume.create("of-errors"))
stranger = Volume(volume.volume_id, volume.name, token="0" * 48)

each_is("a_path_that_is_not_there", VolumePathNotFoundException, {
    "volume.read_file": lambda: volume.read_file("/none"),
    "volume.read_file.stream": lambda: drain(wait(volume.read_file("/none", format="stream"))),
    "volume.write_file": lambda: volume.write_file("/none/x", "x"),
    "volume.get_info": lambda: volume.get_info("/none"),
    "volume.list": lambda: volume.list("/none"),
    "volume.remove": lambda: volume.remove("/none"),
    "volume.update_metadata": lambda: volume.update_metadata("/none", mode=0o600),
    "volume.make_dir": lambda: volume.make_dir("/none/x"),
})

each_is("a_path_that_is_taken", VolumeException, {
    "volume.make_dir": lambda: (wait(volume.write_file("/taken", "x")), volume.make_dir("/taken"))[1],
    "volume.write_file": lambda: volume.write_file("/taken", "y", force=False),
    "Volume.create": lambda: Volume.create("of-errors"),
    "Volume.create.name": lambda: Volume.create("not/good"),
})

each_is("a_token_that_is_none", AuthenticationException, {
    "volume.exists": lambda: stranger.exists("/taken"),
    "volume.read_file": lambda: stranger.read_file("/taken"),
})

# ---- in a sandbox that runs ----

sandbox = wait(Sandbox.create("base", timeout=300))
commands, files, git, pty = sandbox.commands, sandbox.files, sandbox.git, sandbox.pty

each_is("a_process_that_is_not_there", NotFoundException, {
    "commands.connect": lambda: commands.connect(NOBODY),
    "commands.send_stdin": lambda: commands.send_stdin(NOBODY, "x"),
    "commands.close_stdin": lambda: commands.close_stdin(NOBODY),
    "commands.stream_input": lambda: streamed(commands, NOBODY, "x"),
    "pty.connect": lambda: pty.connect(NOBODY, **ON_DATA),
    "pty.send_stdin": lambda: pty.send_stdin(NOBODY, b"x"),
    "pty.resize": lambda: pty.resize(NOBODY, TERMINAL),
    "pty.stream_input": lambda: streamed(pty, NOBODY, b"x"),
})


@promise
def a_process_that_is_not_there_cannot_be_killed():
    assert wait(commands.kill(NOBODY)) is False
    assert wait(pty.kill(NOBODY)) is False


@promise
def a_handle_of_what_has_ended_says_so():
    handle = wait(commands.run("cat", background=True, stdin=True))
    assert wait(handle.kill()) is True
    assert type(refused(Exception, handle.wait)) is CommandExitException
    assert type(refused(Exception, handle.send_stdin, "x")) is NotFoundException
    assert type(refused(Exception, handle.close_stdin)) is NotFoundException
    assert wait(handle.kill()) is False


def input_after_the_end():
    async def send():
        handle = commands.stream_input(NOBODY)
        try:
            await handle.close()
        except NotFoundException:
            await handle.send("x")
    loop.run_until_complete(send())


if not SYNC:  # there input is a handle of its own
    each_is("a_stream_of_input_that_has_ended", NotFoundException, {"commandInputHandle.send": input_after_the_end})


each_is("a_user_that_is_not_there", AuthenticationException, {
    "commands.run": lambda: commands.run("true", user="nobody-there"),
    "pty.create": lambda: pty.create(TERMINAL, user="nobody-there", **ON_DATA),
    "files.exists": lambda: files.exists("/home", user="nobody-there"),
    "files.remove": lambda: files.remove("x", user="nobody-there"),
})

each_is("a_place_that_cannot_be", InvalidArgumentException, {
    "commands.run": lambda: commands.run("true", cwd="/nowhere"),
    "files.write": lambda: files.write("/home/user", "x"),
    "files.write_files": lambda: files.write_files([{"path": "/home/user", "data": "x"}]),
    "files.make_dir": lambda: (wait(files.write("taken", "x")), files.make_dir("taken"))[1],
    "files.list": lambda: files.list("taken"),
})

each_is("a_file_that_is_not_there", FileNotFoundException, {
    "files.read": lambda: files.read("gone"),
    "files.get_info": lambda: files.get_info("gone"),
    "files.list": lambda: files.list("gone"),
    "files.rename": lambda: files.rename("gone", "there"),
    "files.watch_dir": lambda: files.watch_dir("gone", *WATCHER),
})

each_is("a_time_limit", TimeoutException, {
    "commands.run": lambda: commands.run("sleep 30", timeout=0.5),
})

NO_REPOSITORY = "/nowhere"

each_is("a_repository_that_is_not_there", InvalidArgumentException, {
    "git.remote_get": lambda: git.remote_get(NO_REPOSITORY, ""),
    "git.set_config": lambda: git.set_config("", "x"),
    "git.get_config": lambda: git.get_config(""),
    "git.configure_user": lambda: git.configure_user("", ""),
    "git.dangerously_authenticate": lambda: git.dangerously_authenticate("", ""),
    "git.restore.paths": lambda: git.restore(NO_REPOSITORY, []),
})

each_is("a_repository_that_is_none", CommandExitException, {
    "git.init": lambda: git.init("/proc/nowhere"),
    "git.clone": lambda: git.clone("file:///nowhere", path="/tmp/clone"),
    "git.remote_add": lambda: git.remote_add(NO_REPOSITORY, "origin", "https://in.guest/r.git"),
    "git.status": lambda: git.status(NO_REPOSITORY),
    "git.branches": lambda: git.branches(NO_REPOSITORY),
    "git.create_branch": lambda: git.create_branch(NO_REPOSITORY, "x"),
    "git.checkout_branch": lambda: git.checkout_branch(NO_REPOSITORY, "x"),
    "git.delete_branch": lambda: git.delete_branch(NO_REPOSITORY, "x"),
    "git.add": lambda: git.add(NO_REPOSITORY),
    "git.reset": lambda: git.reset(NO_REPOSITORY),
    "git.restore": lambda: git.restore(NO_REPOSITORY, ["x"]),
    "git.commit": lambda: git.commit(NO_REPOSITORY, "x"),
    "git.push": lambda: git.push(NO_REPOSITORY),
})

each_is("a_branch_without_another_to_follow", e2b.GitUpstreamException, {
    "git.pull": lambda: git.pull(NO_REPOSITORY),
})

each_is("calls_of_a_sandbox_with_a_key_that_is_none", AuthenticationException, {
    "kill": lambda: sandbox.kill(**STRANGE),
    "get_metrics": lambda: sandbox.get_metrics(**STRANGE),
    "list_snapshots": lambda: sandbox.list_snapshots(**STRANGE).next_items(),
})

# ---- a sandbox that is over ----

over = wait(Sandbox.create("base", timeout=120))
handle = wait(over.commands.run("cat", background=True, stdin=True))
watch = wait(over.files.watch_dir("/home/user", *WATCHER))
wait(over.kill())
SOON = {"request_timeout": 8}

each_is("a_sandbox_that_is_over", SandboxNotFoundException, {
    "get_info": lambda: over.get_info(),
    "connect": lambda: over.connect(),
    "set_timeout": lambda: over.set_timeout(1),
    "update_network": lambda: over.update_network(CLOSED),
    "pause": lambda: over.pause(),
    "beta_pause": lambda: over.beta_pause(),
    "create_snapshot": lambda: over.create_snapshot(),
    "fork": lambda: over.fork(),
})

each_is("a_sandbox_that_does_not_run", SandboxNotRunningException, {
    "get_mcp_token": lambda: over.get_mcp_token(),
    "commands.run": lambda: over.commands.run("true", **SOON),
    "commands.list": lambda: over.commands.list(**SOON),
    "commands.kill": lambda: over.commands.kill(1, **SOON),
    "commands.connect": lambda: over.commands.connect(1, **SOON),
    "commands.send_stdin": lambda: over.commands.send_stdin(1, "x", **SOON),
    "commands.close_stdin": lambda: over.commands.close_stdin(1, **SOON),
    "commands.stream_input": lambda: streamed(over.commands, 1, "x"),
    "commandHandle.kill": lambda: handle.kill(),
    "commandHandle.send_stdin": lambda: handle.send_stdin("x", **SOON),
    "commandHandle.close_stdin": lambda: handle.close_stdin(**SOON),
    "commandHandle.wait": lambda: handle.wait(),
    "pty.create": lambda: over.pty.create(TERMINAL, **ON_DATA, **SOON),
    "pty.kill": lambda: over.pty.kill(1, **SOON),
    "files.read": lambda: over.files.read("x", **SOON),
    "files.write": lambda: over.files.write("x", "x", **SOON),
    "files.write_files": lambda: over.files.write_files([{"path": "x", "data": "x"}], **SOON),
    "files.list": lambda: over.files.list("/", **SOON),
    "files.exists": lambda: over.files.exists("x", **SOON),
    "files.remove": lambda: over.files.remove("x", **SOON),
    "files.rename": lambda: over.files.rename("x", "y", **SOON),
    "files.make_dir": lambda: over.files.make_dir("x", **SOON),
    "files.get_info": lambda: over.files.get_info("x", **SOON),
    "files.watch_dir": lambda: over.files.watch_dir("/", *WATCHER, **SOON),
    **({"watchHandle.get_new_events": lambda: watch.get_new_events(**SOON), "watchHandle.stop": lambda: watch.stop(**SOON)} if SYNC else {}),
})


@promise
def a_sandbox_that_is_over_does_not_run_and_cannot_be_ended_again():
    assert wait(over.is_running()) is False
    assert wait(over.kill()) is False
    if not SYNC:
        wait(watch.stop())


@promise
def what_the_tests_made_is_taken_away():
    assert wait(Volume.destroy(volume.volume_id)) is True
    assert wait(sandbox.kill()) is True


run_tests(TESTS)
