"""What really runs, seen from outside the daemons: QEMU's processes, and what their shims wrote while they were there."""
import os
import re
import threading
import time

from tenants import Broken

class Life:
    """One microVM that was claimed: for which sandbox, when, and when it stood still; as of when it was seen."""

    def __init__(self, folder):
        self.folder, self.sandbox, self.attempt = folder, None, None
        self.claimed_at, self.seen_at, self.gone_at, self.frozen, self.ended_at = None, None, None, [], None
        self.read_n = 0

    def read(self, now):
        """Takes in what the shim's log has got since; the folder may be gone."""
        try:
            with open(os.path.join(self.folder, "shim.log"), "rb") as file:
                file.seek(self.read_n)
                text = file.read()
        except OSError:
            return
        whole = text[:text.rfind(b"\n") + 1]
        self.read_n += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self._take(line, now)

    def _take(self, line, at):
        claimed = re.search(r" shim: claimed sandbox=(\w+) attempt=(\d+)", line)
        if claimed:
            self.sandbox, self.attempt, self.claimed_at = claimed.group(1), int(claimed.group(2)), at
        elif " shim: frozen" in line:
            self.frozen.append([at, None])
        elif " shim: thawed" in line and self.frozen:
            self.frozen[-1][1] = at
        elif " shim: ending" in line:
            self.ended_at = at

    def ran(self):
        """(least, most) seconds that it ran, as far as could be seen."""
        stood = sum((until or self.gone_at) - since for since, until in self.frozen)
        first = self.ended_at or self.seen_at
        last = self.ended_at or self.gone_at
        return max(0, first - self.claimed_at - stood), last - self.claimed_at - stood


class Machines(threading.Thread):
    """Looks all along; two microVMs for one sandbox are found when they are there."""

    def __init__(self, cluster, pause=0.25):
        super().__init__(daemon=True)
        self.cluster, self.pause = cluster, pause
        self.lives, self.broken, self.stopping, self.looks = {}, [], threading.Event(), 0

    def run(self):
        while not self.stopping.is_set():
            try:
                self._look()
            except Exception as error:  # a thread that dies in silence would prove nothing
                self.broken.append(repr(error))
            self.stopping.wait(self.pause)

    def _look(self):
        now, there = time.time(), set()
        for pid, line in self.cluster.vm_processes().items():
            found = re.search(r"(\S*/vm/[^/\s,]+)", line)
            if found and "qemu-system" in line.split(" ")[0]:
                there.add((found.group(1).split("=")[-1], pid))  # a folder's name can come again
        for machine in there - set(self.lives):
            self.lives[machine] = Life(machine[0])
        by_sandbox = {}
        for machine, life in self.lives.items():
            if life.gone_at:
                continue
            life.read(now)
            if machine not in there:
                life.gone_at = now
                continue
            life.seen_at = now
            if life.sandbox:
                by_sandbox.setdefault(life.sandbox, []).append(life)
        for name, lives in by_sandbox.items():
            if len(lives) > 1:
                self.broken.append(f"{name} is in {len(lives)} microVMs at once, attempts {[life.attempt for life in lives]}")
        self.looks += 1

    def claimed(self):
        """{(sandbox, attempt): life} of all that were seen to be claimed."""
        return {(life.sandbox, life.attempt): life for life in self.lives.values() if life.sandbox}

    def end(self):
        self.stopping.set()
        self.join(20)
        self._look()
        for life in self.lives.values():
            life.gone_at = life.gone_at or time.time()
        if self.broken:
            raise Broken("; ".join(self.broken[:5]))
