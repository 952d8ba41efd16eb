"""What goes wrong in the chaos test: each kind of fault begins, lasts a while, and is undone."""
import os
import random
import signal
import subprocess
import threading
import time

from fleet import Failed

ETCD = "etcd"  # whatever is done to a member holds all of them: one of three at a time, or two on purpose
DOWN_S = (0.1, 2)
STILL_S = (0.5, 5)


class Fault:
    """kind, what it is done to, how to begin and how to undo it.  Nothing is done twice to one of `targets` at a time."""

    def __init__(self, kind, targets, begin, undo, seconds):
        self.kind, self.targets, self.begin, self.undo = kind, set(targets), begin, undo
        self.seconds, self.began_at, self.ended_at = seconds, None, None

    def __str__(self):
        return f"{self.kind} of {', '.join(sorted(self.targets))}"


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


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Processes:
    """Daemons, members and shims: killed, told to stop, stopped in their tracks."""

    def _some(self, names):
        return self.rng.choice(sorted(names))

    def _scheduler(self, leader_share):
        name = self._some(self.cluster.schedulers)
        if self.rng.random() < leader_share:
            name = self.cluster.leader() or name
        return self.cluster.schedulers[name]

    def _agent(self):
        return self.cluster.agents[self._some(self.cluster.agents)]

    def _away(self, kind, daemon, leave, seconds):
        return Fault(kind, [daemon.name], leave, lambda: start_again(daemon), self.rng.uniform(*seconds))

    def _still(self, kind, name, pids, seconds):
        return Fault(kind, [name], lambda: signal_all(pids, signal.SIGSTOP), lambda: signal_all(pids, signal.SIGCONT),
                     self.rng.uniform(*seconds))

    def kill_scheduler(self):
        daemon = self._scheduler(0.5)
        return self._away("kill_scheduler", daemon, daemon.kill, DOWN_S)

    def stop_scheduler(self):
        daemon = self._scheduler(0.5)
        return self._away("stop_scheduler", daemon, daemon.stop, DOWN_S)

    def freeze_scheduler(self):
        daemon = self._scheduler(0.5)
        return self._still("freeze_scheduler", daemon.name, [daemon.pid], STILL_S) if daemon.alive() else None

    def kill_agent(self):
        daemon = self._agent()
        return self._away("kill_agent", daemon, daemon.kill, DOWN_S)

    def restart_agent(self):
        daemon = self._agent()
        return self._away("restart_agent", daemon, daemon.stop, (0, 0.5))

    def freeze_agent(self):
        daemon = self._agent()
        return self._still("freeze_agent", daemon.name, [daemon.pid], STILL_S) if daemon.alive() else None

    def freeze_shim(self):
        pids = self.spare_shims()
        if not pids:
            return None
        pid = self._some(pids)
        return self._still("freeze_shim", f"shim {pid}", [pid], (0.5, 3))

    # ---- etcd ----

    def _members(self):
        """One; every fifth time two, which leaves no quorum."""
        names = sorted(self.cluster.etcd.members)
        two = self.rng.random() < 0.2
        chosen = [self.cluster.etcd.members[name] for name in self.rng.sample(names, 2 if two else 1)]
        return chosen, (1, 4) if two else STILL_S

    def kill_etcd(self):
        members, seconds = self._members()

        def begin():
            for member in members:
                member.kill()

        def undo():
            for member in members:
                start_again(member)
        return Fault("kill_etcd", [ETCD, *(member.name for member in members)], begin, undo, self.rng.uniform(*seconds))

    def freeze_etcd(self):
        members, seconds = self._members()
        if not all(member.alive() for member in members):
            return None
        fault = self._still("freeze_etcd", ETCD, [member.pid for member in members], seconds)
        fault.targets.update(member.name for member in members)
        return fault


class Links:
    """Machines that do not reach each other: cut off, or with delays and losses, both ways or one."""

    def _cut_off(self):
        """(one side, the other side, what it takes hold of beside the links)"""
        cluster, some = self.cluster, self._some
        masters, hosts, members = cluster.masters, cluster.hosts, cluster.members
        shapes = [lambda: ([some(masters)], [some(hosts)], []), lambda: ([some(hosts)], masters, [])]
        if members:
            member = some(members)
            shapes += [lambda: ([some(masters)], members, []), lambda: ([cluster.leader() or some(masters)], members, []),
                       lambda: ([some(masters)], [member], []),
                       lambda: ([member], [other for other in members if other != member], [ETCD]),
                       lambda: self.rng.sample(masters, 2)]
        left, right, *more = self.rng.choice(shapes)()
        if isinstance(left, str):
            left, right = [left], [right]
        return left, right, more[0] if more else []

    def _link(self, kind, begin, seconds):
        network = self.cluster.network
        left, right, more = self._cut_off()
        ways = self.rng.choice([(True, True), (True, False), (False, True)])
        pairs = [(one, other) for one in left for other in right]

        def start():
            for one, other in pairs:
                if ways[0]:
                    begin(one, other)
                if ways[1]:
                    begin(other, one)

        def undo():
            for one, other in pairs:
                network.restore(one, other)
                network.restore(other, one)
        names = [f"link {min(pair)}-{max(pair)}" for pair in pairs]
        return Fault(kind, [*names, *more], start, undo, seconds)

    def cut_link(self):
        # Some last longer than a lease: what runs there freezes, and goes on.
        seconds = self.rng.uniform(8, 10) if self.rng.random() < 0.15 else self.rng.uniform(0.5, 6)
        return self._link("cut_link", self.cluster.network.cut, seconds)

    def trouble_link(self):
        delay, loss = self.rng.uniform(10, 200), self.rng.uniform(0, 0.2)
        return self._link("trouble_link", lambda source, target: self.cluster.network.trouble(
            source, target, delay_ms=delay, loss=loss), self.rng.uniform(1, 5))


class Disks:
    """Disks that are full, fail, are slow or hang."""

    def _state(self):
        names = [*(f"scheduler-{name}" for name in self.cluster.schedulers),
                 *(f"agent-{name}" for name in self.cluster.agents), *(f"etcd-{name}" for name in self.cluster.members)]
        return self._some(names)

    def full_disk(self):
        state, disks = self._state(), self.cluster.disks
        if not state.startswith(ETCD):
            return Fault("full_disk", [f"disk {state}"], lambda: disks.fill(state), lambda: disks.free(state),
                         self.rng.uniform(0.5, 4))

        def undo():  # etcd ends when it cannot write
            disks.free(state)
            start_again(self.cluster.etcd.members[state.removeprefix("etcd-")])
        return Fault("full_disk", [ETCD, f"disk {state}"], lambda: disks.fill(state), undo, self.rng.uniform(0.5, 4))

    def bad_disk(self):
        state, disks, seconds = self._state(), self.cluster.disks, self.rng.uniform(0.5, 4)
        if state.startswith(ETCD):  # faulty_disk does not get before what a Go program writes; a file system that hangs does
            return Fault("bad_disk", [ETCD, f"disk {state}"], lambda: disks.hang(state), lambda: disks.go_on(state), seconds)
        mode = self.rng.choice(["fail", "slow", "readonly"])
        return Fault("bad_disk", [f"disk {state}"], lambda: disks.fault(state, mode, 200),
                     lambda: disks.fault(state, "ok"), seconds)


class Chooser(Processes, Links, Disks):
    """Draws faults of each kind in a random order; nothing is hit twice at a time."""

    def __init__(self, cluster, seed, per_kind, spare_shims, kinds=()):
        self.cluster, self.rng, self.spare_shims = cluster, random.Random(seed), spare_shims
        self.busy, self.lock = set(), threading.Lock()
        known = ["kill_scheduler", "stop_scheduler", "freeze_scheduler", "kill_agent", "restart_agent", "freeze_agent",
                 "freeze_shim", "cut_link", "trouble_link", "full_disk"]
        known += ["kill_etcd", "freeze_etcd"] if cluster.etcd else []
        known += ["bad_disk"] if cluster.disks.faulty else []
        self.plan = [kind for kind in kinds or known for _ in range(per_kind)]
        self.rng.shuffle(self.plan)

    def draw(self):
        """The next fault, begun by nobody yet; None: no more.  One whose target is taken is drawn again later."""
        while self.plan:
            for at in range(len(self.plan) - 1, max(-1, len(self.plan) - 6), -1):
                fault = getattr(self, self.plan[at])()
                with self.lock:
                    if fault and not fault.targets & self.busy:
                        self.busy |= fault.targets
                        del self.plan[at]
                        return fault
            time.sleep(0.05)
        return None

    def done(self, fault):
        with self.lock:
            self.busy -= fault.targets


def perform(fault):
    """Begins it; False: it could not be, as with a daemon that is down already."""
    fault.began_at = time.time()
    try:
        fault.begin()
        return True
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"   {fault}: {error}", flush=True)
        return False
