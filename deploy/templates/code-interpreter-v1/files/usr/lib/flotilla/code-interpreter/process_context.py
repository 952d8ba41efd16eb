"""Contexts of other languages: an interpreter as a process.  It is asked on its standard input and tells
its events, a line of JSON each, on a pipe of their own; the last of an execution is of type "done"."""
import base64
import codecs
import datetime
import json
import os
import re
import select
import shlex
import signal
import subprocess

from context import Context, Died, result_of

HERE = os.path.dirname(os.path.abspath(__file__))


class ProcessContext(Context):
    """Its kinds have command(events): what to run, told the number of that pipe; and request(code, envs,
    own_envs): what to write for an execution."""

    def start(self):
        self.count, self.rest = 0, b""
        self.events, events = os.pipe()
        # A group of its own: what it started is interrupted with it.
        self.process = subprocess.Popen(self.command(events), cwd=self.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0, pass_fds=[events], start_new_session=True)
        os.close(events)
        decoder = codecs.getincrementaldecoder("utf-8")
        self.streams = {self.process.stdout.fileno(): ("stdout", decoder("replace")),
                        self.process.stderr.fileno(): ("stderr", decoder("replace"))}
        for fd in (self.events, *self.streams):
            os.set_blocking(fd, False)
        for _ in self.asked(self.request("", {}, {})):
            pass  # what it says before it is ready is nobody's

    def kill(self):
        self.signal(signal.SIGKILL)

    def release(self):
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        os.close(self.events)

    def interrupt(self):
        self.signal(signal.SIGINT)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def evaluate(self, code, envs, own_envs):
        self.count += 1
        yield {"type": "number_of_executions", "execution_count": self.count}
        yield from self.asked(self.request(code, envs, own_envs))

    def asked(self, text):
        try:
            left = memoryview(text.encode())
            while left:
                left = left[self.process.stdin.write(left):]
        except BrokenPipeError:
            raise Died() from None
        while True:
            ready = select.select([self.events, *self.streams], [], [], 1)[0]
            has_ended = self.process.poll() is not None
            told = self.told() if self.events in ready else []
            # What was written before an event is shown before it.
            yield from self.shown()
            for event in told:
                if event["type"] == "done":
                    return
                yield event
            if has_ended:
                raise Died()

    def told(self):
        *lines, self.rest = (self.rest + read(self.events)).split(b"\n")
        return [as_event(json.loads(line)) for line in lines]

    def shown(self):
        for fd, (name, decoder) in self.streams.items():
            text = decoder.decode(read(fd))
            if text:
                yield {"type": name, "text": text, "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat()}


def read(fd):
    """What there is, and no more than a pipe holds."""
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def as_event(told):
    return result_of(told["data"], told["is_main"]) if told["type"] == "data" else told


class NodeContext(ProcessContext):
    """JavaScript and TypeScript."""

    def command(self, events):
        return ["node", "--no-deprecation", os.path.join(HERE, "node_kernel.js"), str(events), self.language]

    def request(self, code, envs, own_envs):
        return json.dumps({"code": code, "envs": envs, "ownEnvs": own_envs}) + "\n"


class RContext(ProcessContext):
    """Requests come at a descriptor of their own: the standard input is the code's, and empty."""

    def command(self, events):
        # Not in the global environment, which is the code's, and which it may clear.
        source = f'sys.source("{HERE}/r_kernel.R", envir = new.env(parent = baseenv()))'
        kernel = shlex.join(["Rscript", "--vanilla", "-e", source])
        return ["sh", "-c", f"exec {kernel} 9 {events} 9<&0 </dev/null"]

    def request(self, code, envs, own_envs):
        return json.dumps({"code": code, "envs": envs, "ownEnvs": own_envs}) + "\n"


class JavaContext(ProcessContext):
    """A machine that starts soon rather than runs fast; the class is compiled when the template is built."""

    def command(self, events):
        return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Dfile.encoding=UTF-8", "--add-opens=java.base/java.util=ALL-UNNAMED",
                "-cp", HERE, "JavaKernel", str(events)]

    def request(self, code, envs, own_envs):
        variables = ("\0".join(f"{name}={value}" for name, value in each.items()) for each in (envs, own_envs))
        return " ".join(base64.b64encode(text.encode()).decode() for text in (code, *variables)) + "\n"


class BashContext(ProcessContext):
    """An interactive shell without a terminal: an interrupt ends what it runs, and not it."""

    def command(self, events):
        self.told_at = events
        return ["env", "PS1=", "PS2=", "bash", "--norc", "--noediting", "-i"]

    def request(self, code, envs, own_envs):
        envs, own_envs = nameable(envs), nameable(own_envs)
        event = """builtin printf '{"type":"%s","name":"ExitCode","value":"%d","traceback":""}\\n'"""
        return "\n".join([
            "set +o history",
            exports(envs),
            *(f"_saved_{name}=$(declare -p {name} 2>/dev/null)" for name in own_envs),
            exports(own_envs),
            f"eval {shlex.quote(code)} </dev/null",
            f'{{ _status=$?; ((_status == 0)) || {event} error "$_status"; {event} done "$_status"; }} >&{self.told_at}',
            *(f'unset {name}; eval "$_saved_{name}"; unset _saved_{name}' for name in own_envs),
            ""]).replace("\0", "")


def exports(envs):
    return "".join(f"export {name}={shlex.quote(value)};" for name, value in envs.items())


def nameable(envs):
    """What a shell can have."""
    return {name: value for name, value in envs.items() if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII)}
