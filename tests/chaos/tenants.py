"""Who uses the fleet while it is attacked: sandboxes that count all along, and requests that come and go."""
import os
import random
import subprocess
import threading
import time
import uuid

from fleet import BIN, wait_for

# Counts without starting a process: each line says which boot, which process, how far.
COUNTER = (r'mkfifo /tmp/never; exec 4<>/tmp/never; '
           r'read -r boot </proc/sys/kernel/random/boot_id; n=0; '
           r'while :; do n=$((n+1)); echo "$boot $$ $n" >>/tmp/counter; read -r -t 0.5 -u 4; done')


class Broken(Exception):
    pass


class Steady:
    """One sandbox with a counter in it: the same boot, the same process, never back, never ahead."""

    def __init__(self, cluster, key):
        self.cluster, self.key = cluster, key
        self.asked = time.time()
        status, self.sandbox = cluster.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 7200}, key=key)
        if status != 201:
            raise Broken(f"create: {status} {self.sandbox}")
        self.answered = time.time()
        self.name = self.sandbox["sandboxID"]
        subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", self.name, "--", "bash", "-c",
                        f"setsid bash -c '{COUNTER}' </dev/null >/dev/null 2>&1 &"],
                       env={**os.environ, **cluster.env(key)}, check=True, capture_output=True, timeout=60)
        self.boot, self.pid, self.n = wait_for("a counter", 20, self.read)
        self.at, self.grew_at = time.monotonic(), time.monotonic()

    def read(self):
        try:
            status, text = self.cluster.in_guest(self.sandbox, "GET", "/files?path=/tmp/counter", seconds=10)
        except OSError:
            return None
        lines = [line for line in str(text).split("\n")[:-1] if line.count(" ") == 2]
        if status != 200 or not lines:
            return None
        boot, pid, n = lines[-1].split()
        return boot, pid, int(n)

    def look(self):
        """True: it was reached. Raises when it is not the sandbox that it was."""
        asked = time.monotonic()
        seen = self.read()
        if not seen:
            return False
        boot, pid, n = seen
        if (boot, pid) != (self.boot, self.pid):
            raise Broken(f"{self.name} is another: {seen} after {(self.boot, self.pid, self.n)}")
        if n < self.n or n > self.n + (time.monotonic() - self.at) / 0.5 + 3:
            raise Broken(f"{self.name} jumps from {self.n} to {n} in {time.monotonic() - self.at:.1f} s")
        if n > self.n:
            self.grew_at = asked
        self.n, self.at = n, asked
        return True


class Request:
    """A keyed create, asked for until it has a definite answer; and then the kill."""

    def __init__(self):
        self.key = str(uuid.uuid4())
        self.asked = self.granted = self.killed = self.gone = self.name = self.refused = None


class Churn:
    """Threads that create and kill, each create under an idempotency key of its own."""

    def __init__(self, cluster, key, threads):
        self.cluster, self.key = cluster, key
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

    def _call(self, method, path, body=None, headers=()):
        """(status, body), or (None, None): nobody knows what became of it."""
        machine = random.choice(self.cluster.masters)
        try:
            return self.cluster.api(method, path, body, key=self.key, headers=headers, seconds=15, machine=machine)
        except (OSError, ValueError):
            return None, None
        except Exception as error:  # a torn answer
            if "HTTP" in type(error).__name__ or "Incomplete" in type(error).__name__ or "Bad" in type(error).__name__:
                return None, None
            raise

    def _create(self, request):
        body = {"templateID": "base", "timeout": 600, "metadata": {"request": request.key}}
        request.asked = time.time()
        while True:
            status, answer = self._call("POST", "/v2/sandboxes", body, {"Idempotency-Key": request.key}.items())
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

    def _kill(self, request):
        request.killed = time.time()
        while True:
            status, answer = self._call("DELETE", f"/sandboxes/{request.name}")
            if status in (204, 404):
                request.gone = time.time()
                return
            if status not in (None, 500, 502, 503, 504):
                self.broken.append(f"kill: {status} {answer}")
                return
            time.sleep(0.2)

    def _run(self, number):
        rng = random.Random(number)
        while not self.stopping.is_set():
            request = Request()
            with self.lock:
                self.requests.append(request)
            try:
                self._create(request)
                if request.name:
                    self.stopping.wait(rng.uniform(0.5, 3))
                    self._kill(request)
                else:
                    self.stopping.wait(rng.uniform(0.2, 1))
            except Exception as error:
                self.broken.append(repr(error))
                return

    def most_at_once(self):
        """How many the tenant surely had at the same time: between a grant and the kill."""
        steps = sorted([(request.granted, 1) for request in self.requests if request.name] +
                       [(request.killed, -1) for request in self.requests if request.name and request.killed])
        most = now = 0
        for _, step in steps:
            now += step
            most = max(most, now)
        return most
