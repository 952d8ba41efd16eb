#!/usr/bin/env python3
"""That build-rootfs lets no root filesystem through that cannot be read back, and packs the same bytes from the same tar: Debian's
mksquashfs once damaged some. The packages are a small tar here, the packing is real.

usage: packed_test.py BUILD-ROOTFS
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from images import layer  # noqa: E402

DAMAGE = """#!/bin/sh
%s "$@" || exit
printf 'damaged' | dd of="$2" bs=1 seek=300 conv=notrunc status=none
"""


class Packed(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="flotilla-packed-")
        self.addCleanup(shutil.rmtree, self.work)
        for name in ("recipe", "bin", "here"):
            os.mkdir(self.path(name))
        with open(self.path("recipe", "packages"), "w") as file:
            file.write("none\n")
        with open(self.path("root.tar"), "wb") as file:
            file.write(layer(("text", b"".join(b"line %d\n" % i for i in range(100_000)))))
        self.program("mmdebstrap", f"#!/bin/sh\nexec cat {self.path('root.tar')}\n")

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def program(self, name, text):
        with open(self.path("bin", name), "w") as file:
            file.write(text)
        os.chmod(self.path("bin", name), 0o755)

    def build(self):
        """(the packed bytes, what was said last); it ends without a kernel, which the tar does not bring."""
        out = tempfile.mkdtemp(dir=self.work)
        done = subprocess.run([PROGRAM, self.path("recipe"), out], capture_output=True, text=True, timeout=60, cwd=self.path("here"),
                              env={**os.environ, "PATH": f"{self.path('bin')}:{os.environ['PATH']}:/usr/sbin:/sbin"})
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(os.listdir(self.path("here")), [])
        with open(os.path.join(out, "rootfs.img"), "rb") as file:
            return file.read(), done.stderr

    def test_a_good_one_goes_on_to_its_kernel(self):
        one, said = self.build()
        self.assertIn("unpacking the kernel", said)
        self.assertEqual(one, self.build()[0])

    def test_a_damaged_one_goes_no_further(self):
        self.program("mksquashfs", DAMAGE % shutil.which("mksquashfs"))
        said = self.build()[1]
        self.assertIn("cannot be read back", said)
        self.assertNotIn("unpacking the kernel", said)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
