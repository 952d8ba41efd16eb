"""Who uses the fleet while it is attacked: sandboxes that count all along, and requests that come and go."""
import http.client
import os
import random
import subprocess
import threading
import time
import uuid

from fleet import BIN, wait_for

COUNT_S = 0.5
# Counts without starting a process: each line says which boot, which process, how far, and for how long the guest ran.
COUNTER = (r'mkfifo /tmp/never; exec 4<>/tmp/never; '
           r'read -r boot </proc/sys/kernel/random/boot_id; n=0; '
           r'while :; do n=$((n+1)); read -r up idle </proc/uptime; echo "$boot $$ $n $up" >>/tmp/counter; '
           rf'read -r -t {COUNT_S} -u 4; done')


class Broken(Exception):
    pass


class Steady:
    """One sandbox with a counter in it: the same boot, the same process, never back, never ahead.  It may stand still."""

    def __init__(self, cluster, key):
        self.cluster, self.key = cluster, key
        self.asked = time.time()
        self.sandbox = cluster.ask("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 7200}, key=key,
                                   headers={"Idempotency-Key": str(uuid.uuid4())})
        self.answered = time.time()
        self.name = self.sandbox["sandboxID"]
        subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", self.name, "--", "bash", "-c",
                        f"setsid bash -c '{COUNTER}' </dev/null >/dev/null 2>&1 &"],
                       env={**os.environ, **cluster.env(key)}, check=True, capture_output=True, timeout=60)
        self.boot, self.pid, self.n, self.up = wait_for("a counter", 20, self.read)
        self.at, self.seen_at = time.monotonic(), time.time()
        self.first_up, self.first_at = self.up, self.seen_at

    def read(self, seconds=3):
        try:
            status, text = self.cluster.in_guest(self.sandbox, "GET", "/files?path=/tmp/counter", seconds=seconds)
        except (OSError, http.client.HTTPException):
            return None
        lines = [line for line in str(text).split("\n")[:-1] if line.count(" ") == 3]
        if status != 200 or not lines:
            return None
        boot, pid, n, up = lines[-1].split()
        return boot, pid, int(n), float(up)

    def look(self):
        """True: it was reached. Raises when it is not the sandbox that it was."""
        asked = time.monotonic()
        seen = self.read()
        if not seen:
            return False
        boot, pid, n, up = seen
        if (boot, pid) != (self.boot, self.pid):
            raise Broken(f"{self.name} is another: {seen} after {(self.boot, self.pid, self.n)}")
        if n < self.n or up < self.up or n > self.n + (time.monotonic() - self.at) / COUNT_S + 3:
            raise Broken(f"{self.name} jumps from {self.n} to {n} in {time.monotonic() - self.at:.1f} s")
        self.n, self.up, self.at, self.seen_at = n, up, asked, time.time()
        return True

    def ran(self, killed):
        """(least, most) seconds that it ran by the guest's own clock, which stands still with it; killed: when it was gone."""
        told = self.up - self.first_up
        return told, told + (self.first_at - self.asked) + (killed - self.seen_at) + COUNT_S


class Request:
    """A keyed create, asked for until it has a definite answer; and then the kill."""

    def __init__(self):
        self.key = str(uuid.uuid4())
        self.asked = self.granted = self.killed = self.gone = self.name = self.refused = None
        self.tries, self.kills = 0, []


class Churn:
    """Threads that create and kill, each create under an idempotency key of its own, at whichever scheduler."""

    def __init__(self, cluster, key, threads, seed):
        self.cluster, self.key, self.seed = cluster, key, seed
        self.requests, self.lock, self.stopping, self.broken = [], threading.Lock(), threading.Event(), []
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(90)
        if any(thread.is_alive() for thread in self.threads):
            raise Broken("a request has no definite answer 90 s after the last fault")
        if self.broken:
            raise Broken("; ".join(self.broken[:5]))

    def _call(self, rng, method, path, body=None, headers=()):
        """(status, body), or (None, None): nobody knows what became of it."""
        try:
            return self.cluster.api(method, path, body, key=self.key, headers=headers, seconds=15,
                                    machine=rng.choice(self.cluster.masters))
        except (OSError, ValueError, http.client.HTTPException):  # no answer, or a torn one
            return None, None

    def _create(self, rng, request):
        body = {"templateID": "base", "timeout": 600, "metadata": {"request": request.key}}
        request.asked = time.time()
        while True:
            request.tries += 1
            status, answer = self._call(rng, "POST", "/v2/sandboxes", body, {"Idempotency-Key": request.key}.items())
            if status == 201:
                request.granted, request.name = time.time(), answer["sandboxID"]
                return
            if status == 429:
                request.refused = status
                return
            if status not in (None, 409, 500, 502, 503, 504):
                self.broken.append(f"create: {status} {answer}")
                request.refused = status
                return
            time.sleep(0.2)

    def _look(self, rng, request):
        """What was told to run is found, wherever one asks."""
        status, answer = self._call(rng, "GET", f"/sandboxes/{request.name}")
        if status == 404:
            self.broken.append(f"{request.name} was told to run {time.time() - request.granted:.2f} s ago, and is not found")
        elif status == 200 and answer["metadata"].get("request") != request.key:
            self.broken.append(f"{request.name} has lost what was sent along: {answer}")

    def _kill(self, rng, request):
        """Not found is an end too: a scheduler repeats what it forwarded.  That it was this kill, its bill says."""
        request.killed = time.time()
        while True:
            status, answer = self._call(rng, "DELETE", f"/sandboxes/{request.name}")
            request.kills.append((round(time.time() - request.asked, 2), status))
            if status in (204, 404):
                request.gone = time.time()
                return
            if status not in (None, 500, 502, 503, 504):
                self.broken.append(f"kill of {request.name}: {status} {answer}")
                return
            time.sleep(0.2)

    def _run(self, number):
        rng = random.Random(self.seed * 100 + number)
        while not self.stopping.is_set():
            request = Request()
            with self.lock:
                self.requests.append(request)
            try:
                self._create(rng, request)
                if request.name:
                    self._look(rng, request)
                    self.stopping.wait(rng.uniform(0.5, 3))
                    self._kill(rng, request)
                else:
                    self.stopping.wait(rng.uniform(0.2, 1))
            except Exception as error:
                self.broken.append(repr(error))
                return


def most_at_once(intervals):
    """The most of these (from, to) that hold at one instant; one that ends when another begins is not with it."""
    most = now = 0
    for _, step in sorted([(since, 1) for since, _ in intervals] + [(until, -1) for _, until in intervals]):
        now += step
        most = max(most, now)
    return most
