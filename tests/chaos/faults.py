"""What goes wrong in the chaos test: each kind of fault begins, lasts a while, and is undone."""
import os
import random
import signal
import threading
import time

from fleet import Failed


class Fault:
    """kind, what it is done to, how to begin and how to undo it."""

    def __init__(self, kind, target, begin, undo, seconds):
        self.kind, self.target, self.begin, self.undo, self.seconds = kind, target, begin, undo, seconds


def start_again(daemon, seconds=60):
    """As an init system does: one that cannot start, because its disk is full say, is started again."""
    end = time.monotonic() + seconds
    while not daemon.alive():
        try:
            daemon.start()
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def killed(daemon):
    return daemon.kill, lambda: start_again(daemon)


def frozen(pid):
    def send(number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    return lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT)


class Chooser:
    """Draws faults of each kind in a random order; nothing is hit twice at a time."""

    def __init__(self, cluster, seed, per_kind, spare_shims):
        self.cluster, self.rng, self.spare_shims = cluster, random.Random(seed), spare_shims
        self.busy, self.lock = set(), threading.Lock()
        kinds = [self.kill_scheduler, self.stop_scheduler, self.freeze_scheduler, self.kill_agent, self.freeze_agent,
                 self.cut_link, self.trouble_link, self.full_disk, self.freeze_shim]
        kinds += [self.bad_disk] if cluster.faulty else []
        self.plan = [kind for kind in kinds for _ in range(per_kind)]
        self.rng.shuffle(self.plan)

    def draw(self):
        """The next fault, begun by nobody yet; waits until its target is free. None: no more."""
        if not self.plan:
            return None
        make = self.plan.pop()
        while True:
            with self.lock:
                fault = make()
                if fault and fault.target not in self.busy:
                    self.busy.add(fault.target)
                    return fault
            time.sleep(0.05)

    def done(self, fault):
        with self.lock:
            self.busy.discard(fault.target)

    def some(self, names):
        return self.rng.choice(sorted(names))

    # ---- processes ----

    def kill_scheduler(self):
        name = self.some(self.cluster.schedulers)
        if self.rng.random() < 0.5:
            name = self.cluster.leader() or name
        daemon = self.cluster.schedulers[name]
        return Fault("kill_scheduler", daemon.name, *killed(daemon), self.rng.uniform(0.1, 2))

    def stop_scheduler(self):
        name = self.cluster.leader() or self.some(self.cluster.schedulers)
        daemon = self.cluster.schedulers[name]
        return Fault("stop_scheduler", daemon.name, daemon.stop, killed(daemon)[1], self.rng.uniform(0.1, 1))

    def freeze_scheduler(self):
        name = self.some(self.cluster.schedulers)
        if self.rng.random() < 0.5:
            name = self.cluster.leader() or name
        daemon = self.cluster.schedulers[name]
        return Fault("freeze_scheduler", daemon.name, *frozen(daemon.pid), self.rng.uniform(0.5, 5))

    def kill_agent(self):
        daemon = self.cluster.agents[self.some(self.cluster.agents)]
        return Fault("kill_agent", daemon.name, *killed(daemon), self.rng.uniform(0.1, 2))

    def freeze_agent(self):
        daemon = self.cluster.agents[self.some(self.cluster.agents)]
        return Fault("freeze_agent", daemon.name, *frozen(daemon.pid), self.rng.uniform(0.5, 5))

    def freeze_shim(self):
        pids = self.spare_shims()
        if not pids:
            return None
        pid = self.some(pids)
        return Fault("freeze_shim", f"shim {pid}", *frozen(pid), self.rng.uniform(0.5, 3))

    # ---- links ----

    def _pair(self):
        machines = [*self.cluster.masters, *self.cluster.hosts]
        source, target = self.rng.sample(machines, 2)
        return source, target, self.rng.random() < 0.5  # both ways?

    def _link(self, kind, begin, seconds):
        network = self.cluster.network
        source, target, both = self._pair()

        def start():
            begin(source, target)
            if both:
                begin(target, source)

        def undo():
            network.restore(source, target)
            network.restore(target, source)
        return Fault(kind, f"link {min(source, target)} {max(source, target)}", start, undo, seconds)

    def cut_link(self):
        return self._link("cut_link", self.cluster.network.cut, self.rng.uniform(0.5, 6))

    def trouble_link(self):
        delay, loss = self.rng.uniform(10, 200), self.rng.uniform(0, 0.2)
        return self._link("trouble_link", lambda source, target: self.cluster.network.trouble(
            source, target, delay_ms=delay, loss=loss), self.rng.uniform(1, 5))

    # ---- disks ----

    def _state(self):
        return self.some([*(f"scheduler-{name}" for name in self.cluster.schedulers),
                          *(f"agent-{name}" for name in self.cluster.agents)])

    def full_disk(self):
        state = self._state()
        return Fault("full_disk", f"disk {state}", lambda: self.cluster.fill_disk(state),
                     lambda: self.cluster.free_disk(state), self.rng.uniform(0.5, 4))

    def bad_disk(self):
        state, mode = self._state(), self.rng.choice(["fail", "slow", "readonly"])
        return Fault("bad_disk", f"disk {state}", lambda: self.cluster.disk_fault(state, mode, 200),
                     lambda: self.cluster.disk_fault(state, "ok"), self.rng.uniform(0.5, 4))
