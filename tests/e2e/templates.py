#!/usr/bin/env python3
"""Templates by steps: layers, their cache, failures, and sandboxes that wake with what was started."""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, TEMPLATES, Fleet, run_tests  # noqa: E402

NAME = "flotilla-test-steps"
work = tempfile.mkdtemp(prefix="flotilla-templates-")


def archive(files):
    """A tar.gz of (name, content or None for a folder), under the name that its step gives."""
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w:gz") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.type, info.mode = (tarfile.DIRTYPE, 0o755) if content is None else (tarfile.REGTYPE, 0o644)
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    name = hashlib.sha256(blob.getvalue()).hexdigest()
    with open(os.path.join(work, name), "wb") as file:
        file.write(blob.getvalue())
    return name


def build(spec, name=NAME):
    """(progress entries, result) of one build."""
    path = os.path.join(work, "spec.json")
    with open(path, "w") as file:
        json.dump(spec, file)
    done = subprocess.run([os.path.join(BIN, "flotilla-template"), "build", name, "--spec", path, "--context", work,
                           "--progress", "json", "--template-dir", TEMPLATES],
                          capture_output=True, text=True, timeout=240)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and "result" in lines[-1], (done.stdout, done.stderr)
    for line in lines[:-1]:
        assert set(line) == {"timestamp", "level", "step", "message"}, line
    assert (done.returncode == 0) == (lines[-1]["result"]["status"] == "ready"), done
    return lines[:-1], lines[-1]["result"]


def said(entries, step):
    return [entry["message"] for entry in entries if entry["step"] == step]


def run(line, user=None):
    return {"type": "RUN", "args": [line] + ([user] if user else [])}


FILES = archive([("src", None), ("src/a.txt", b"a\n"), ("src/deep", None), ("src/deep/b.txt", b"b\n")])
STEPS = [
    {"type": "COPY", "args": ["src/*", "copied", "", "0750"], "filesHash": FILES},
    {"type": "COPY", "args": ["src/a.txt", "/opt/renamed.txt", "root", ""], "filesHash": FILES},
    {"type": "ENV", "args": ["WORD", "it's \"quoted\"", "PATH", "/opt/tools:$PATH"]},
    {"type": "WORKDIR", "args": ["project"]},
    run("echo out; echo err >&2; date +%s%N >stamp; env >seen"),
]
START = {"startCmd": "python3 -m http.server 8123 --directory /", "readyCmd": "curl -sf localhost:8123/ >/dev/null"}


def steps_run_in_a_microvm_and_leave_layers():
    entries, result = build({"fromTemplate": "base", "force": True, "steps": STEPS})
    assert result["status"] == "ready" and result["name"] == NAME, result
    assert "out" in said(entries, "5"), entries
    assert {"err"} == {entry["message"] for entry in entries if entry["level"] == "warn"}, entries


def only_what_changed_is_carried_out_again():
    before = len(os.listdir(os.path.join(TEMPLATES, "layer")))
    entries, result = build({"fromTemplate": "base", **START, "steps": [*STEPS, run("id -un", "root")]})
    assert result["status"] == "ready", result
    for step in "12345":
        assert said(entries, step)[0].startswith("CACHED "), entries
    assert said(entries, "6") == ["[6/6] RUN id -un root", "root"], entries
    assert len(os.listdir(os.path.join(TEMPLATES, "layer"))) == before + 1
    again, same = build({"fromTemplate": "base", **START, "steps": [*STEPS, run("id -un", "root")]})
    assert same["id"] == result["id"] and said(again, "finalize")[-1].endswith("is there"), (again, same)


def a_failing_step_ends_the_build_with_its_number_and_exit_code():
    spec = {"fromTemplate": NAME, "steps": [run("true"), run("echo last words; exit 42"), run("true")]}
    entries, result = build(spec, "flotilla-test-broken")
    assert result["status"] == "error", result
    assert result["reason"]["step"] == "2" and result["reason"]["exitCode"] == 42, result
    assert "last words" in said(entries, "2") and not said(entries, "3"), entries
    assert said(build(spec, "flotilla-test-broken")[0], "1")[0].startswith("CACHED "), "the step before it was kept"
    assert not os.path.lexists(os.path.join(TEMPLATES, "name", "flotilla-test-broken"))


def hostile_files_stay_in_their_microvm():
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        link = tarfile.TarInfo("escape")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
        for name in ("escape/planted", "../../planted"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"bad"))
    name = hashlib.sha256(blob.getvalue()).hexdigest()
    with open(os.path.join(work, name), "wb") as file:
        file.write(blob.getvalue())
    _, result = build({"steps": [{"type": "COPY", "args": [".", "/opt", "", ""], "filesHash": name}]},
                      "flotilla-test-broken")
    assert result["status"] == "error" and result["reason"]["step"] == "1", result
    assert not os.path.exists("/etc/planted") and not os.path.exists(os.path.join(work, "..", "planted"))


def bad_specs_are_refused_with_a_reason():
    for spec, reason in (
            ([], "object"), ({"steps": [{"type": "FROM", "args": ["x"]}]}, "step 1: type `FROM`"),
            ({"fromImage": "nobody/nothing", "steps": []}, "nobody/nothing"),
            ({"fromTemplate": "nowhere", "steps": []}, "no template `nowhere`"),
            ({"steps": [run("true"), {"type": "ENV", "args": ["A"]}]}, "step 2: ENV"),
            ({"steps": [{"type": "COPY", "args": ["../x", "y"], "filesHash": FILES}]}, "inside the build's files"),
            ({"steps": [{"type": "COPY", "args": ["x", "y"], "filesHash": "../../etc/passwd"}]}, "hex digits")):
        entries, result = build(spec, "flotilla-test-broken")
        assert result["status"] == "error" and reason in result["reason"]["message"], (spec, result)


def a_user_who_is_not_there_is_an_error_of_the_step():
    _, result = build({"steps": [{"type": "USER", "args": ["nobody-here"]}]}, "flotilla-test-broken")
    assert result["reason"]["step"] == "1" and "nobody-here" in result["reason"]["message"], result


def a_ready_command_that_hangs_ends_with_the_build():
    path = os.path.join(work, "spec.json")
    with open(path, "w") as file:
        json.dump({"readyCmd": "sleep 1000", "steps": []}, file)
    done = subprocess.run([os.path.join(BIN, "flotilla-template"), "build", "flotilla-test-broken", "--spec", path,
                           "--limit", "10s", "--progress", "json", "--template-dir", TEMPLATES],
                          capture_output=True, text=True, timeout=60)
    result = json.loads(done.stdout.splitlines()[-1])["result"]
    assert done.returncode == 1 and "longer than it may" in result["reason"]["message"], result
    assert result["reason"]["step"] == "finalize", result


def sandboxes_wake_with_what_the_template_has():
    with Fleet(template=NAME) as fleet:
        key = fleet.tenant("steps")
        status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": NAME, "envVars": {"MINE": "yes"}}, key=key)
        assert status == 201, (status, sandbox)
        # The server that was started before the snapshot answers from its first moment.
        assert fleet.in_guest(sandbox, "GET", "/opt/renamed.txt", port=8123) == (200, "a\n")
        assert fleet.in_guest(sandbox, "GET", "/home/user/copied/deep/b.txt", port=8123)[1] == "b\n"
        seen = fleet.in_guest(sandbox, "GET", "/home/user/project/seen", port=8123)[1].splitlines()
        assert "WORD=it's \"quoted\"" in seen and "PWD=/home/user/project" in seen, seen
        envs = fleet.in_guest(sandbox, "GET", "/envs")[1]
        assert envs["MINE"] == "yes" and envs["WORD"] == "it's \"quoted\"", envs
        assert envs["PATH"].startswith("/opt/tools:/usr/"), envs
        status, files = fleet.in_guest(sandbox, "POST", "/filesystem.Filesystem/Stat",
                                       {"path": "/home/user/copied/a.txt"})
        assert files["entry"]["owner"] == "user" and files["entry"]["permissions"] == "-rwxr-x---", files


if __name__ == "__main__":
    with_base = subprocess.run([os.path.join(BIN, "flotilla-template"), "build", "base", "--template-dir", TEMPLATES])
    if with_base.returncode:
        sys.exit("no base template")
    run_tests([steps_run_in_a_microvm_and_leave_layers, only_what_changed_is_carried_out_again,
               a_failing_step_ends_the_build_with_its_number_and_exit_code, hostile_files_stay_in_their_microvm,
               bad_specs_are_refused_with_a_reason, a_user_who_is_not_there_is_an_error_of_the_step,
               a_ready_command_that_hangs_ends_with_the_build, sandboxes_wake_with_what_the_template_has])
