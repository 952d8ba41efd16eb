#!/usr/bin/env python3
"""What unpack-image makes of images, good ones and others: run here as it runs inside a microVM, over folders of the test's own.

usage: unpack_test.py UNPACK-IMAGE
"""
import bz2
import gzip
import json
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import images  # noqa: E402
from images import layer  # noqa: E402

BASH = [("usr", None), ("usr/bin", None), ("usr/bin/bash", {"data": b"#!", "mode": 0o755}), ("bin", ("symlink", "usr/bin"))]


class Unpack(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="flotilla-unpack-")
        self.addCleanup(shutil.rmtree, self.work)
        self.out = os.path.join(self.work, "out")

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def at(self, name):
        return os.path.join(self.out, name)

    def read(self, name):
        with open(self.at(name), "rb") as file:
            return file.read()

    def run_on(self, data, padding=0):
        """(exit code, what is on standard output, the last line of standard error); padding: as a disk has behind it."""
        shutil.rmtree(self.out, ignore_errors=True)
        with open(self.path("archive"), "wb") as file:
            file.write(data + b"\0" * padding)
        done = subprocess.run([PROGRAM, self.path("archive"), str(len(data)), self.out], capture_output=True, text=True, timeout=60)
        lines = done.stderr.splitlines()
        return done.returncode, json.loads(done.stdout or "null"), lines[-1] if lines else ""

    def unpack(self, data, **more):
        code, said, last = self.run_on(data, **more)
        self.assertEqual(code, 0, last)
        return said["env"]

    def refuse(self, data, why):
        code, said, last = self.run_on(data)
        self.assertEqual((code, said), (1, None), last)
        self.assertIn(why, last)

    def layout(self, *layers, **more):
        folder = tempfile.mkdtemp(dir=self.work)
        kept = images.Layout(os.path.join(folder, "layout"))
        kept.index(kept.image([layer(*BASH), *layers], **more))
        return kept

    def tar(self, kept):
        return images.tar_of(kept.folder)


class Forms(Unpack):
    def test_a_root_filesystem_in_each_compression(self):
        plain = layer(*BASH, ("etc", None), ("etc/kept", b"text"))
        for packed in (lambda data: data, gzip.compress, bz2.compress, lzma.compress,
                       lambda data: subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout):
            self.assertEqual(self.unpack(packed(plain), padding=300), {})
            self.assertEqual(self.read("etc/kept"), b"text")

    def test_a_layout_and_its_environment(self):
        for packed in (lambda data: data, lambda data: gzip.compress(data)):
            kept = self.layout(layer(("a", b"1")), env=["PATH=/a:/b", "EMPTY=", "EQUALS=a=b"])
            self.assertEqual(self.unpack(packed(self.tar(kept))), {"PATH": "/a:/b", "EMPTY": "", "EQUALS": "a=b"})
            self.assertEqual(self.read("a"), b"1")

    def test_layers_in_each_compression(self):
        for packed in (lambda data: data, bz2.compress, lzma.compress,
                       lambda data: subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout):
            self.unpack(self.tar(self.layout(layer(("a", b"1" * 100_000)), packed=packed)))
            self.assertEqual(len(self.read("a")), 100_000)

    def test_what_docker_saves(self):
        data = images.docker_archive([layer(*BASH), layer(("a", b"1"))], ["A=b"])
        self.assertEqual(self.unpack(data), {"A": "b"})
        self.assertEqual(self.unpack(gzip.compress(data)), {"A": "b"})

    def test_the_image_of_our_platform_is_taken(self):
        kept = images.Layout(self.path("many"))
        ours = kept.image([layer(*BASH, ("ours", b""))])
        other = kept.image([layer(*BASH, ("other", b""))], architecture="arm64")
        rows = [{**other, "platform": {"os": "linux", "architecture": "arm64"}},
                {**ours, "platform": {"os": "linux", "architecture": "amd64"}},
                {**other, "platform": {"os": "unknown", "architecture": "unknown"}}]
        index = kept.blob(json.dumps({"manifests": rows}).encode(), "application/vnd.oci.image.index.v1+json")
        for top in (rows, [index]):
            kept.index(*top)
            self.unpack(self.tar(kept))
            self.assertTrue(os.path.exists(self.at("ours")))
        kept.index(rows[0])
        self.refuse(self.tar(kept), "no image for linux/amd64")
        kept.index(other)
        self.refuse(self.tar(kept), "is for linux/arm64, not for linux/amd64")
        kept.index(*({**one, "annotations": {"org.opencontainers.image.ref.name": name}} for one, name in ((ours, "a"), (other, "b"))))
        self.refuse(self.tar(kept), "several images in it: a, b")


class Layers(Unpack):
    def test_whiteouts_hide_what_is_below_alone(self):
        self.unpack(self.tar(self.layout(
            layer(("d", None), ("d/low", b""), ("d/deep", None), ("d/deep/low", b""), ("gone", b""), ("e", None), ("e/low", b"")),
            layer(("d/own", b""), ("d/deep/own", b""), ("d/.wh..wh..opq", b""), (".wh.gone", b""), ("e/.wh.low", b""), ("e/low", b"own"),
                  (".wh.never-was", b""), (".wh..wh.plnk", None)))))
        self.assertEqual(sorted(os.listdir(self.at("d"))), ["deep", "own"])
        self.assertEqual(os.listdir(self.at("d/deep")), ["own"])
        self.assertFalse(os.path.lexists(self.at("gone")))
        self.assertEqual(self.read("e/low"), b"own")

    def test_a_whiteout_after_what_the_layer_brought_spares_it(self):
        self.unpack(self.tar(self.layout(layer(("a", b"low")), layer(("a", b"own"), (".wh.a", b"")))))
        self.assertEqual(self.read("a"), b"own")

    def test_kinds_replace_each_other(self):
        self.unpack(self.tar(self.layout(layer(("a", None), ("a/x", b""), ("b", b""), ("c", ("symlink", "a"))),
                                         layer(("a", b"file"), ("b", None), ("c", None), ("c/y", b"")))))
        self.assertEqual(self.read("a"), b"file")
        self.assertTrue(os.path.isdir(self.at("b")))
        self.assertFalse(os.path.islink(self.at("c")))

    def test_links_are_followed_inside(self):
        self.unpack(self.tar(self.layout(layer(("bin/tool", b"t"), ("hard", ("link", "usr/bin/tool")), ("abs", ("symlink", "/usr")),
                                               ("abs/new", b"n")))))
        self.assertEqual(self.read("usr/bin/tool"), b"t")
        self.assertEqual(self.read("usr/new"), b"n")
        self.assertEqual(os.stat(self.at("hard")).st_ino, os.stat(self.at("usr/bin/tool")).st_ino)

    def test_attributes_are_kept(self):
        self.unpack(self.tar(self.layout(layer(
            ("f", {"data": b"x", "mode": 0o4755, "uid": 7, "gid": 8, "mtime": 12345, "pax_headers": {"SCHILY.xattr.user.colour": "blue"}}),
            ("pipe", {"type": tarfile.FIFOTYPE}), ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
            ("d", {"type": tarfile.DIRTYPE, "mode": 0o1777, "mtime": 99}), ("d/in", b"")))))
        about = os.stat(self.at("f"))
        self.assertEqual((stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid, about.st_mtime), (0o4755, 7, 8, 12345))
        self.assertEqual(os.getxattr(self.at("f"), "user.colour"), b"blue")
        self.assertTrue(stat.S_ISFIFO(os.stat(self.at("pipe")).st_mode))
        self.assertFalse(os.path.lexists(self.at("null")), "a sandbox has devices of its own")
        self.assertEqual((stat.S_IMODE(os.stat(self.at("d")).st_mode), os.stat(self.at("d")).st_mtime), (0o1777, 99))


class Hostile(Unpack):
    def test_nothing_leads_out(self):
        self.refuse(self.tar(self.layout(layer(("../planted", b"")))), "leads out of the image")
        self.refuse(self.tar(self.layout(layer(("a/../../planted", b"")))), "leads out of the image")
        self.refuse(self.tar(self.layout(layer(("h", ("link", "../../etc/passwd"))))), "leads out of the image")
        outside = self.path("outside")
        os.mkdir(outside)
        self.unpack(self.tar(self.layout(layer(("escape", ("symlink", outside)), ("escape/planted", b""), ("/absolute", b"")))))
        self.assertEqual(os.listdir(outside), [])
        self.assertFalse(os.path.exists("/absolute"))
        self.assertTrue(os.path.exists(self.at("absolute")))

    def test_hashes_are_compared(self):
        kept = self.layout(layer(("a", b"1")))
        for name in os.listdir(os.path.join(kept.folder, "blobs/sha256")):
            path = os.path.join(kept.folder, "blobs/sha256", name)
            with open(path, "rb") as file:
                data = file.read()
            with open(path, "wb") as file:
                file.write(data + b" " if data[:1] == b"{" else data[:-1] + b"!")
            code, said, last = self.run_on(self.tar(kept))
            self.assertEqual((code, said), (1, None), last)
            with open(path, "wb") as file:
                file.write(data)
        self.unpack(self.tar(kept))
        wrong = images.config([layer(*BASH), layer(("other", b""))])
        self.refuse(self.tar(self.layout(layer(("a", b"1")), rootfs=wrong["rootfs"])), "is wanted")

    def test_documents_of_any_shape_are_refused(self):
        for documents in ({"oci-layout": "{}", "index.json": "["}, {"oci-layout": "{}"}, {"oci-layout": "{}", "index.json": "{}"},
                          {"oci-layout": "{}", "index.json": '{"manifests":[{"digest":"md5:0"}]}'},
                          {"oci-layout": "{}", "index.json": '{"manifests":[{"digest":"sha256:../../../etc/passwd"}]}'},
                          {"oci-layout": "{}", "index.json": '{"manifests":[1]}'}, {"manifest.json": "[]"}, {"manifest.json": "[{}]"},
                          {"manifest.json": '[{"Config":"x","Layers":[]}]'}, {"manifest.json": "[1]"}):
            code, said, last = self.run_on(layer(*((name, text.encode()) for name, text in documents.items())))
            self.assertEqual((code, said), (1, None), documents)
            self.assertNotIn("Traceback", last)

    def test_what_is_no_archive_is_refused(self):
        for data in (b"no tar at all" * 100, gzip.compress(b"no tar" * 300), layer(*BASH)[:700], gzip.compress(layer(*BASH))[:60]):
            code, said, last = self.run_on(data)
            self.assertEqual((code, said), (1, None), data[:20])
            self.assertNotIn("Traceback", last)

    def test_a_root_without_a_shell_is_refused(self):
        self.refuse(layer(("etc", None)), "no /bin/bash")


class Accounts(Unpack):
    def test_the_user_gets_a_number_that_is_free(self):
        self.unpack(layer(*BASH, ("etc", None), ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/bash\n"),
                          ("etc/group", b"root:x:0:\nnode:x:1000:\nother:x:1001:\n"), ("etc/sudoers.d", None), ("etc/skel", None), ("etc/skel/.rc", b"rc")))
        self.assertIn(b"\nuser:x:1002:1002::/home/user:/bin/bash\n", self.read("etc/passwd"))
        self.assertEqual(self.read("home/user/.rc"), b"rc")
        self.assertEqual(os.stat(self.at("home/user/.rc")).st_uid, 1002)
        self.assertIn(b"NOPASSWD", self.read("etc/sudoers.d/user"))

    def test_a_user_of_the_images_own_is_left_alone(self):
        passwd = b"root:x:0:0::/root:/bin/sh\nuser:x:5:5::/srv:/bin/bash\n"
        self.unpack(layer(*BASH, ("etc", None), ("etc/passwd", passwd)))
        self.assertEqual(self.read("etc/passwd"), passwd)

    def test_names_of_the_machine_are_made_anew(self):
        self.unpack(layer(*BASH, ("etc", None), ("etc/resolv.conf", ("symlink", "/run/systemd/resolve/stub-resolv.conf")),
                          ("etc/hostname", b"builder\n"), ("etc/machine-id", b"0123\n")))
        self.assertEqual((self.read("etc/resolv.conf"), self.read("etc/machine-id"), self.read("etc/hostname")), (b"", b"", b"localhost\n"))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
