"""What a context is, whatever its language: code in, events out, one execution after the other."""
import threading
import uuid

# The field of a result that each kind of data becomes; what is not here keeps its own name.
FIELDS = {
    "text/plain": "text", "text/html": "html", "text/markdown": "markdown", "image/svg+xml": "svg",
    "image/png": "png", "image/jpeg": "jpeg", "application/pdf": "pdf", "text/latex": "latex",
    "application/json": "json", "application/javascript": "javascript", "e2b/chart": "chart", "e2b/data": "data",
}


# A shell, for one, takes an interrupt for its child's if that has just ended.  Not so soon that it comes while
# a kernel tells of the first.
INTERRUPT_AGAIN_S = 5


class Died(Exception):
    """The kernel ended by itself, in the middle of an execution or before it."""


class Context:
    """A kernel with a namespace of its own.  Its kinds have start(), interrupt(), kill() and then
    release(), and evaluate(code, envs, own_envs): the events of one execution, with the variables of
    the sandbox, which stay, and its own, which do not."""

    def __init__(self, language, cwd):
        self.id, self.language, self.cwd = str(uuid.uuid4()), language, cwd
        self.lock, self.is_closed = threading.Lock(), False
        self.start()

    def restart(self):
        self.interrupt()
        while not self.lock.acquire(timeout=INTERRUPT_AGAIN_S):
            self.interrupt()
        try:
            self.again()
        finally:
            self.lock.release()

    def again(self):
        self.kill()
        self.release()
        self.start()

    def close(self):
        self.is_closed = True
        self.kill()
        with self.lock:
            self.release()

    def run(self, code, envs, own_envs):
        """Everything that the code shows, as E2B's clients read it."""
        with self.lock:
            try:
                yield from self.evaluate(code, envs, own_envs)
            except Died:
                yield {"type": "error", "name": "KernelDied", "value": "the kernel died", "traceback": ""}
                if not self.is_closed:
                    self.again()

    def described(self):
        return {"id": self.id, "language": self.language, "cwd": self.cwd}


def result_of(data, is_main):
    return {"type": "result", "is_main_result": is_main, **{FIELDS.get(kind, kind): value for kind, value in data.items()}}
