"""Contexts of Python: Jupyter's kernel."""
import os
import queue

from context import Context, Died, result_of
from jupyter_client import KernelManager

START_S = 120

# Figures and frames are told as data, too.
CHARTS = f"""
def _install():
    import sys
    sys.path.insert(0, {os.path.dirname(__file__)!r})
    import charts
    del sys.path[0]
    charts.install()
_install()
del _install
"""

# What is loaded and used once before the snapshot: no name of it stays in the namespace.
WARM = """
def _warm():
    import io, json, math, re
    import numpy, pandas
    import matplotlib.pyplot as plt
    pandas.DataFrame({"a": [1, 2]})._repr_html_()
    plt.plot([1, 2])
    plt.savefig(io.BytesIO())
    plt.close("all")
_warm()
del _warm
"""


class JupyterContext(Context):
    def start(self):
        self.envs = {}  # of the sandbox, as the kernel has them
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=self.cwd)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=START_S)
        self.quietly(CHARTS)

    def kill(self):
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)

    def release(self):
        self.client.stop_channels()

    def interrupt(self):
        self.manager.interrupt_kernel()

    def warm(self):
        with self.lock:
            self.quietly(WARM)

    def quietly(self, code):
        """Runs code that leaves no trace in the history and shows nothing."""
        for _ in self.messages(self.client.execute(code, silent=True, store_history=False)):
            pass

    def messages(self, request):
        """What the kernel publishes about a request, until it is done with it."""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                if not self.manager.is_alive():
                    raise Died() from None
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return
            yield message

    def put_envs(self, envs):
        changed = {name: value for name, value in envs.items() if self.envs.get(name) != value}
        if changed:
            self.quietly(f"import os as _os\n_os.environ.update({changed!r})\ndel _os")
            self.envs.update(changed)

    def evaluate(self, code, envs, own_envs):
        self.put_envs(envs)
        if own_envs:
            self.quietly(f"import os as _os\n_saved_environ = dict(_os.environ)\n_os.environ.update({own_envs!r})\ndel _os")
        try:
            for message in self.messages(self.client.execute(code, allow_stdin=False)):
                event = event_of(message)
                if event:
                    yield event
        finally:
            if own_envs and self.manager.is_alive():
                self.quietly("import os as _os\n_os.environ.clear()\n_os.environ.update(_saved_environ)\ndel _os, _saved_environ")


def event_of(message):
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        return {"type": content["name"], "text": content["text"], "timestamp": message["header"]["date"].isoformat()}
    if kind in ("execute_result", "display_data"):
        result = result_of(content["data"], kind == "execute_result")
        text = result.get("text")
        # A string is shown without its quotes.
        if text and len(text) > 1 and text[0] == text[-1] == "'":
            result["text"] = text[1:-1]
        return result
    if kind == "error":
        return {"type": "error", "name": content["ename"], "value": content["evalue"],
                "traceback": "\n".join(content["traceback"])}
    if kind == "execute_input":
        return {"type": "number_of_executions", "execution_count": content["execution_count"]}
    return None
