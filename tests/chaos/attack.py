"""Faults, one after the other and some at a time, until the plan is done; and daemons that end by themselves are noticed."""
import collections
import signal
import threading
import time
import traceback

from faults import perform, start_again
from fleet import Failed

MOST = 3           # under way at a time
PAUSE_S = (0.1, 0.9)


class Attack:
    def __init__(self, cluster, chooser):
        self.cluster, self.chooser = cluster, chooser
        self.done, self.broken, self.under_way, self.busy_s = collections.Counter(), [], [], 0

    def _live(self, fault):
        try:
            time.sleep(fault.seconds)
            fault.undo()
            fault.ended_at = time.time()
        except Exception as error:
            traceback.print_exc()
            self.broken.append(f"{fault} could not be undone: {error!r}")
        finally:
            self.chooser.done(fault)

    def _watch_daemons(self):
        """A daemon that ends by itself, or cannot end in peace, is a broken promise; etcd's members may, on a full disk."""
        for daemon in [*self.cluster.schedulers.values(), *self.cluster.agents.values()]:
            with self.chooser.lock:
                if daemon.name in self.chooser.busy or daemon.alive():
                    continue
                self.chooser.busy.add(daemon.name)
            try:
                self.broken.append(f"{daemon.name} ended by itself with {daemon.process.returncode}:\n{daemon.tail(15)}")
                print(f"   {self.broken[-1]}", flush=True)
                start_again(daemon)
            except Failed as failed:
                self.broken.append(str(failed))
            finally:
                with self.chooser.lock:
                    self.chooser.busy.discard(daemon.name)

    def _room(self):
        self.under_way = [thread for thread in self.under_way if thread.is_alive()]
        return len(self.under_way) < MOST

    def run(self):
        began = time.monotonic()
        while fault := self.chooser.draw():
            if perform(fault):
                self.done[fault.kind] += 1
            thread = threading.Thread(target=self._live, args=(fault,), daemon=True)
            thread.start()
            self.under_way.append(thread)
            self._watch_daemons()
            while not self._room():
                time.sleep(0.05)
            time.sleep(self.chooser.rng.uniform(*PAUSE_S))
        for thread in self.under_way:
            thread.join(90)
            if thread.is_alive():
                self.broken.append("a fault is not undone after 90 s")
        seconds = time.monotonic() - began
        print(f"   {sum(self.done.values())} faults in {seconds:.0f} s: "
              + ", ".join(f"{kind} {n}" for kind, n in sorted(self.done.items())), flush=True)

    def calm(self):
        """Everything runs again, as after the last fault."""
        for daemon in self.cluster.daemons():
            start_again(daemon)

    def check(self):
        for daemon in [*self.cluster.schedulers.values(), *self.cluster.agents.values()]:
            code = daemon.process.returncode
            if code is not None and code not in (0, -signal.SIGKILL):
                self.broken.append(f"{daemon.name} ended with {code}:\n{daemon.tail(15)}")
        for daemon in self.cluster.daemons():
            with open(daemon.log, errors="replace") as log:
                for line in log:
                    # etcd's own way out when its disk is full is a panic, too: "failed to save …".
                    panics = line.startswith("panic") and "failed to save" not in line
                    if "broken promise" in line or "Sanitizer" in line or "runtime error" in line or panics:
                        self.broken.append(f"{daemon.name}: {line.strip()[:300]}")
        if self.broken:
            raise Failed("; ".join(self.broken[:5]))
