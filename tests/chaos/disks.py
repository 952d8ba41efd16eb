"""Small disks of the test's own, one for each daemon's state, that can be filled, can hang, and can fail."""
import os
import subprocess
import time

from fleet import BIN


class Disks:
    def __init__(self, root, faulty):
        self.root, self.faulty, self.mounts, self.hung = root, faulty, [], set()

    def path(self, name):
        return os.path.join(self.root, name)

    def make(self, name, mib=48):
        """A folder that is a file system of its own, in a sparse file."""
        image, folder = self.path(f"{name}.img"), self.path(name)
        os.makedirs(folder, exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
        self.mounts.append(folder)
        os.chmod(folder, 0o700)
        self.fault(name, "ok")
        return folder

    def env(self, name, program):
        """What puts a daemon behind faulty_disk."""
        if not self.faulty:
            return {}
        return {"LD_PRELOAD": os.path.join(os.path.dirname(BIN), "lib", "libfaulty_disk.so"),
                "FAULTY_PROGRAM": program, "FAULTY_DIR": self.path(name), "FAULTY_CONTROL": self.path(f"{name}.faults")}

    def fault(self, name, mode, delay_ms=0):
        """ok, fail, slow, full or readonly; for a daemon that runs behind faulty_disk."""
        with open(self.path(f"{name}.faults.new"), "w") as file:
            file.write(f"{mode} {delay_ms}\n")
        os.rename(self.path(f"{name}.faults.new"), self.path(f"{name}.faults"))

    def fill(self, name):
        """Not a byte is left."""
        with open(os.path.join(self.path(name), "filler"), "wb") as file:
            at, step = 0, 64 << 20
            while step >= 1024:
                try:
                    os.posix_fallocate(file.fileno(), at, step)
                    at += step
                except OSError:
                    step //= 2

    def free(self, name):
        filler = os.path.join(self.path(name), "filler")
        if os.path.exists(filler):
            os.unlink(filler)

    def hang(self, name):
        """Whoever writes waits, for any program."""
        subprocess.run(["fsfreeze", "--freeze", self.path(name)], check=True)
        self.hung.add(name)

    def go_on(self, name):
        if name in self.hung:
            self.hung.discard(name)
            subprocess.run(["fsfreeze", "--unfreeze", self.path(name)], check=True)

    def go_on_all(self):
        for name in list(self.hung):
            self.go_on(name)

    def close(self):
        self.go_on_all()
        for folder in self.mounts:
            for _ in range(50):  # until the last microVM has let go
                if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                subprocess.run(["umount", "-l", folder], capture_output=True)
