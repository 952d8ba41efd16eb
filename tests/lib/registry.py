"""A registry of the test's own, Debian's docker-registry, that wants a user and a password."""
import base64
import crypt
import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.request

from fleet import Failed, free_port, wait_for

USER, PASSWORD = "puller", "s3cret-of-registry"


class Registry:
    def __init__(self, folder):
        self.folder = tempfile.mkdtemp(dir=folder)

    def __enter__(self):
        users = os.path.join(self.folder, "users")
        with open(users, "w") as file:
            file.write(f"{USER}:{crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1 << 4))}\n")
        for _ in range(5):  # another program may take a port that was free
            self.address = f"127.0.0.1:{free_port()}"
            config = {"version": "0.1", "storage": {"filesystem": {"rootdirectory": os.path.join(self.folder, "data")}},
                      "http": {"addr": self.address}, "auth": {"htpasswd": {"realm": "test", "path": users}}}
            with open(os.path.join(self.folder, "config.yml"), "w") as file:
                json.dump(config, file)  # JSON is YAML
            with open(os.path.join(self.folder, "log"), "ab") as log:
                self.process = subprocess.Popen(["docker-registry", "serve", os.path.join(self.folder, "config.yml")],
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if wait_for("the registry", 30, lambda: "ended" if self.process.poll() is not None else self.answers()) is True:
                return self
        raise Failed("docker-registry does not start")

    def __exit__(self, kind, value, trace):
        self.process.kill()
        self.process.wait()

    def answers(self):
        try:
            urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2)
        except urllib.error.HTTPError as refused:
            return refused.code == 401
        except OSError:
            return False
        return False

    def push(self, layout, name):
        """The whole name of what a layout in a folder becomes."""
        reference = f"{self.address}/{name}"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{PASSWORD}",
                        f"oci:{layout}", f"docker://{reference}"], check=True, timeout=120)
        return reference

    def auth_file(self):
        """As docker login writes it."""
        path = os.path.join(self.folder, "auth.json")
        with open(path, "w") as file:
            json.dump({"auths": {self.address: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}, file)
        return path
