#!/usr/bin/env python3
"""The guest's files as E2B's clients use them: entries, uploads, downloads, signed addresses, compose.

usage: files_test.py PROGRAM
"""
import base64
import gzip
import hashlib
import json
import os
import pwd
import socket
import stat
import sys
import threading
import time
import unittest
import urllib.parse

import host_test
from host_test import GuestTest

ME = pwd.getpwuid(os.getuid())
OCTETS = {"content-type": "application/octet-stream"}


def quoted(**query):
    return urllib.parse.urlencode(query)


class FilesTest(GuestTest):
    def rpc(self, method, **message):
        return self.guest.call("filesystem.Filesystem/" + method, message)

    def stat(self, path):
        status, answer = self.rpc("Stat", path=path)
        self.assertEqual(status, 200, answer)
        return answer["entry"]

    def put(self, path, data, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        status, body, _ = self.guest.request("POST", "/files?" + quoted(path=path), data, {**OCTETS, **headers})
        return status, json.loads(body)

    def form(self, parts, query="", **headers):
        body = b"".join(
            b'--XX\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
            % (name.encode(), data) for name, data in parts) + b"--XX--\r\n"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.compress(body)
        status, body, _ = self.guest.request("POST", "/files" + query, body,
                                             {"content-type": "multipart/form-data; boundary=XX", **headers})
        return status, json.loads(body)

    def write(self, name, data=b"x", mode=None):
        with open(self.path(name), "wb") as file:
            file.write(data)
        if mode is not None:
            os.chmod(self.path(name), mode)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()


class Entries(FilesTest):
    def test_permissions_are_gos_text(self):
        rows = [(0o644, "-rw-r--r--", 0o644), (0o4755, "urwxr-xr-x", 0o755), (0o2755, "grwxr-xr-x", 0o755),
                (0o7777, "ugtrwxrwxrwx", 0o777), (0, "----------", 0)]
        for mode, text, bits in rows:
            entry = self.stat(self.write("f", mode=mode))
            self.assertEqual((entry["permissions"], entry["mode"]), (text, bits))
        os.mkdir(self.path("d"))
        os.chmod(self.path("d"), 0o1777)
        entry = self.stat(self.path("d"))
        self.assertEqual((entry["permissions"], entry["type"]), ("dtrwxrwxrwx", "FILE_TYPE_DIRECTORY"))
        os.mkfifo(self.path("p"), 0o600)
        entry = self.stat(self.path("p"))
        self.assertEqual((entry["permissions"], entry["type"]), ("prw-------", "FILE_TYPE_UNSPECIFIED"))
        self.assertEqual(self.stat("/dev/null")["permissions"], "Dcrw-rw-rw-")

    def test_an_entry_tells_all_of_a_file(self):
        path = self.write("f", b"12345", 0o640)
        os.utime(path, ns=(0, 1700000000123456789))
        self.assertEqual(self.stat(path), {
            "name": "f", "type": "FILE_TYPE_FILE", "path": path, "size": "5", "mode": 0o640,
            "permissions": "-rw-r-----", "owner": ME.pw_name, "group": self.stat(path)["group"],
            "modifiedTime": "2023-11-14T22:13:20.123456789Z"})
        self.assertEqual(self.stat("/")["name"], "/")

    @unittest.skipIf(os.getuid(), "only root can give files away")
    def test_owners_without_a_name_are_numbers(self):
        os.chown(self.write("f"), 54321, 54322)
        entry = self.stat(self.path("f"))
        self.assertEqual((entry["owner"], entry["group"]), ("54321", "54322"))

    def test_links_have_the_type_and_mode_of_what_they_lead_to(self):
        self.write("real", mode=0o604)
        os.symlink("real", self.path("one"))
        os.symlink("one", self.path("two"))
        os.symlink("nothing", self.path("dangling"))
        os.symlink("loop", self.path("loop"))
        real = os.path.realpath(self.path("real"))
        for name in "one", "two":
            entry = self.stat(self.path(name))
            self.assertEqual((entry["type"], entry["mode"], entry["permissions"], entry["symlinkTarget"]),
                             ("FILE_TYPE_FILE", 0o604, "Lrwxrwxrwx", real))
        for name in "dangling", "loop":
            entry = self.stat(self.path(name))
            self.assertEqual((entry["type"], entry["mode"], entry["symlinkTarget"]),
                             ("FILE_TYPE_UNSPECIFIED", 0, self.path(name)))

    def test_a_listing_goes_as_gos_walk_does(self):
        for name in "b", "a", "b/x", "b/x/y", "b.d", "B":
            os.mkdir(self.path(name))
        self.write("b/x/z")
        self.write("b/a")
        os.symlink("b", self.path("link"))
        listed = self.rpc("ListDir", path=self.folder, depth=3)[1]["entries"]
        self.assertEqual([os.path.relpath(entry["path"], self.folder) for entry in listed],
                         ["B", "a", "b", "b/a", "b/x", "b/x/y", "b/x/z", "b.d", "link"])
        for depth, n in (0, 5), (1, 5), (2, 7), (3, 9), (4294967295, 9):
            self.assertEqual(len(self.rpc("ListDir", path=self.folder, depth=depth)[1]["entries"]), n, depth)

    def test_a_folder_behind_a_link_is_listed_under_the_links_name(self):
        os.mkdir(self.path("d"))
        self.write("d/f")
        os.symlink("d", self.path("link"))
        listed = self.rpc("ListDir", path=self.path("link"))[1]["entries"]
        self.assertEqual([entry["path"] for entry in listed], [self.path("link/f")])
        self.assertEqual(self.rpc("ListDir", path=self.path("d/f"))[1],
                         {"code": "invalid_argument", "message": "path is not a directory: " + self.path("d/f")})

    def test_errors_are_e2bs(self):
        os.symlink("loop", self.path("loop"))
        self.write("file")
        gone = self.path("gone")
        rows = [
            ("Stat", {"path": gone}, "not_found", f"file not found: lstat {gone}: no such file or directory"),
            ("Stat", {"path": self.path("file/x")}, "internal",
             f"error getting file info: lstat {self.path('file/x')}: not a directory"),
            ("ListDir", {"path": gone}, "not_found", f"path not found: lstat {gone}: no such file or directory"),
            ("ListDir", {"path": self.path("loop")}, "failed_precondition",
             f"cyclic symlink or chain >255 links at \"{self.path('loop')}\""),
            ("MakeDir", {"path": self.folder}, "already_exists", f"directory already exists: {self.folder}"),
            ("MakeDir", {"path": self.path("file")}, "invalid_argument",
             f"path already exists but it is not a directory: {self.path('file')}"),
            ("Move", {"source": gone, "destination": self.path("x")}, "not_found",
             f"source file not found: rename {gone} {self.path('x')}: no such file or directory"),
            ("Stat", {"path": "~other/x"}, "invalid_argument", None),
            ("Stat", {"path": 7}, "invalid_argument", None),
            ("Stat", {"path": "a\0b"}, "invalid_argument", None),
            ("Stat", {"path": "/" + "x/" * 3000}, "invalid_argument", None),
            ("ListDir", {"path": "/", "depth": -1}, "invalid_argument", None),
            ("ListDir", {"path": "/", "depth": "2"}, "invalid_argument", None),
        ]
        for method, message, code, text in rows:
            answer = self.rpc(method, **message)[1]
            self.assertEqual(answer["code"], code, (method, message))
            if text:
                self.assertEqual(answer["message"], text)
        self.assertFalse(os.path.exists(self.path("x")))

    def test_names_that_are_not_text_harm_nobody(self):
        self.write("good")
        with open(os.path.join(os.fsencode(self.folder), b"bad\xff\xfe"), "w"):
            pass
        listed = self.rpc("ListDir", path=self.folder)[1]["entries"]
        self.assertEqual([entry["name"] for entry in listed], ["good"])
        self.assertEqual(self.rpc("Remove", path=self.folder), (200, {}))
        os.mkdir(self.folder)


class Removal(FilesTest):
    def test_links_are_removed_and_not_followed(self):
        os.mkdir(self.path("kept"))
        self.write("kept/f")
        os.makedirs(self.path("d/e"))
        os.symlink(self.path("kept"), self.path("d/e/link"))
        self.assertEqual(self.rpc("Remove", path=self.path("d")), (200, {}))
        self.assertFalse(os.path.exists(self.path("d")))
        self.assertEqual(self.read("kept/f"), b"x")

    def test_a_tree_deeper_than_a_path_is_long_is_removed(self):
        here = os.open(self.folder, os.O_RDONLY)
        for _ in range(300):
            os.mkdir("n" * 40, dir_fd=here)
            below = os.open("n" * 40, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        self.assertEqual(self.rpc("Remove", path=self.path("n" * 40)), (200, {}))
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_large_removal_and_a_large_listing_hold_up_nobody(self):
        for folder in range(40):
            os.mkdir(self.path(f"d{folder}"))
            for number in range(500):
                os.close(os.open(self.path(f"d{folder}/{number}"), os.O_CREAT))
        for method, message in ("ListDir", {"depth": 2}), ("Remove", {}):
            done = []
            worker = threading.Thread(
                target=lambda: done.append(self.rpc(method, path=self.folder, **message)))
            worker.start()
            seen = worst = 0
            while not done:
                began = time.monotonic()
                self.assertEqual(self.guest.request("GET", "/health")[0], 204)
                worst = max(worst, time.monotonic() - began)
                seen += not done
            worker.join()
            self.assertEqual(done[0][0], 200)
            # Answered in the middle of it, again and again.
            self.assertGreater(seen, 3, method)
        os.mkdir(self.folder)

    def test_a_listing_that_nobody_waits_for_is_given_up(self):
        body = json.dumps({"path": "/", "depth": 1000}).encode()
        for _ in range(8):
            with self.guest.socket() as client:
                client.sendall(b"POST /filesystem.Filesystem/ListDir HTTP/1.1\r\nHost: x\r\n"
                               b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        # The threads are free again: this one needs one of them.
        self.assertEqual(self.rpc("ListDir", path=self.folder)[0], 200)

    def test_more_than_an_answer_can_carry_is_refused(self):
        long = "\1" * 250  # six bytes each in JSON
        for number in range(9000):
            os.close(os.open(self.path(f"{number:04}{long}"), os.O_CREAT))
        status, answer = self.rpc("ListDir", path=self.folder)
        self.assertEqual((status, answer["code"]), (400, "out_of_range"))


class Uploads(FilesTest):
    def test_a_form_may_have_many_files(self):
        parts = [(self.path(f"n/{number}/ü {number}"), b"%d" % number) for number in range(50)]
        status, answer = self.form(parts)
        self.assertEqual(status, 200)
        self.assertEqual(answer, [{"name": os.path.basename(path), "path": path, "type": "file"} for path, _ in parts])
        for path, data in parts:
            self.assertEqual(self.read(path), data)

    def test_two_files_of_one_name_are_refused(self):
        path = self.path("f")
        status, answer = self.form([(path, b"first"), (path, b"second")])
        self.assertEqual(status, 400)
        self.assertIn(f"you cannot upload multiple files to the same path '{path}'", answer["message"])
        self.assertEqual(self.read("f"), b"first")

    def test_compressed_bodies_are_decoded(self):
        data = os.urandom(300000) + bytes(5000000)
        self.assertEqual(self.put(self.path("raw"), gzip.compress(data), content_encoding="gzip")[0], 200)
        self.assertEqual(self.read("raw"), data)
        two = gzip.compress(b"one ") + gzip.compress(b"two")  # RFC 1952 allows several members
        self.assertEqual(self.put(self.path("two"), two, content_encoding="gzip")[0], 200)
        self.assertEqual(self.read("two"), b"one two")
        self.assertEqual(self.form([(self.path("part"), data)], content_encoding="gzip")[0], 200)
        self.assertEqual(self.read("part"), data)
        self.assertEqual(self.put(self.path("none"), gzip.compress(b""), content_encoding="gzip")[0], 200)
        self.assertEqual(self.read("none"), b"")

    def test_broken_compression_is_refused_and_leaves_nothing(self):
        good = gzip.compress(os.urandom(200000))
        for data in b"", b"plain", good[:-1], good[:5], good + b"garbage", good[:1000] + b"\0" * 10 + good[1010:]:
            status, answer = self.put(self.path("f"), data, content_encoding="gzip")
            self.assertEqual((status, answer["code"]), (400, 400), len(data))
            self.assertFalse(os.path.exists(self.path("f")))

    @unittest.skipUnless(os.path.exists("/dev/full"), "no device that is always full")
    def test_a_bomb_ends_when_the_disk_is_full(self):
        bomb = gzip.compress(bytes(50_000_000))
        status, answer = self.put("/dev/full", bomb, content_encoding="gzip")
        self.assertEqual((status, answer["message"]), (507, "not enough disk space"))

    def test_a_body_that_swells_holds_up_nobody(self):
        data = gzip.compress(bytes(300_000_000))
        done = []
        worker = threading.Thread(target=lambda: done.append(self.put(self.path("f"), data, content_encoding="gzip")))
        worker.start()
        seen = 0
        while not done:
            self.assertEqual(self.guest.request("GET", "/health")[0], 204)
            seen += not done
        worker.join()
        self.assertEqual((done[0][0], os.stat(self.path("f")).st_size), (200, 300_000_000))
        self.assertGreater(seen, 20)

    def test_a_client_that_leaves_while_its_body_swells_is_forgotten(self):
        data = gzip.compress(bytes(100_000_000))
        for _ in range(5):
            with self.guest.socket() as client:
                client.sendall(b"POST /files?path=" + self.path("f").encode() +
                               b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nContent-Encoding: gzip\r\n"
                               b"Content-Type: application/octet-stream\r\n\r\n" + data[:60000])
                while not os.path.exists(self.path("f")):
                    pass
            while os.path.exists(self.path("f")):
                pass

    def test_metadata_is_replaced_at_each_write(self):
        path = self.path("f")
        status, answer = self.put(path, b"1", X_Metadata_Author="me", X_METADATA_Two="b c")
        self.assertEqual((status, answer[0].get("metadata")), (200, {"author": "me", "two": "b c"}))
        self.assertEqual(os.getxattr(path, "user.e2b.author"), b"me")
        self.assertEqual(self.stat(path)["metadata"], {"author": "me", "two": "b c"})
        listed = self.rpc("ListDir", path=self.folder)[1]["entries"]
        self.assertEqual(listed[0]["metadata"], {"author": "me", "two": "b c"})
        self.assertEqual(self.put(path, b"2", x_metadata_three="3")[1][0]["metadata"], {"three": "3"})
        self.assertNotIn("metadata", self.put(path, b"3")[1][0])
        self.assertNotIn("metadata", self.stat(path))
        os.setxattr(path, "user.e2b.raw", b"\xff")
        os.setxattr(path, "user.other", b"x")
        self.assertNotIn("metadata", self.stat(path))
        self.put(path, b"4")
        self.assertEqual(os.listxattr(path), ["user.other"])

    def test_metadata_that_cannot_be_kept_is_refused(self):
        rows = [
            ({"x-metadata-" + "k" * 246: "v"}, 200, None),
            ({"x-metadata-" + "k" * 247: "v"}, 400, f"invalid metadata: metadata key \"{'k' * 247}\" exceeds 246 bytes"),
            ({"x-metadata-k": "\u00e4"}, 400,
             "invalid metadata: metadata value for key \"k\" contains non-printable-ASCII byte 0xe4 at offset 0"),
            ({f"x-metadata-{key}": "v" * 1500 for key in "abc"}, 400,
             "invalid metadata: total metadata size 4530 exceeds 4096 bytes"),
            ({"x-metadata-": "v"}, 200, None),
            ({"x-metadata-empty": ""}, 200, None),
        ]
        for headers, code, message in rows:
            status, answer = self.put(self.path("f"), b"x", **headers)
            self.assertEqual(status, code, answer)
            if message:
                self.assertEqual(answer["message"], message)
        self.assertEqual(self.stat(self.path("f"))["metadata"], {"empty": ""})

    @unittest.skipIf(os.getuid(), "only root can give files away")
    def test_files_and_new_folders_are_the_users(self):
        other = pwd.getpwnam("nobody")
        os.chown(self.write("old", mode=0o600), 12345, 12345)
        for name in "new/deep/f", "old":
            status, body, _ = self.guest.request(
                "POST", "/files?" + quoted(path=self.path(name), username="nobody"), b"x", OCTETS)
            self.assertEqual(status, 200, body)
        for name in "new", "new/deep", "new/deep/f", "old":
            found = os.stat(self.path(name))
            self.assertEqual((found.st_uid, found.st_gid), (other.pw_uid, other.pw_gid), name)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("new/deep/f")).st_mode), 0o644)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("new")).st_mode), 0o755)

    def test_links_are_written_through(self):
        os.symlink("there", self.path("link"))
        for data in b"first", b"second, longer", b"3":
            self.assertEqual(self.put(self.path("link"), data)[0], 200)
            self.assertEqual(self.read("there"), data)
        self.assertTrue(os.path.islink(self.path("link")))

    def test_what_cannot_be_written_is_told(self):
        self.write("file")
        rows = [
            (self.folder, 400, "path is a directory: " + self.folder),
            (self.path("file/x"), 400, None),
            ("/proc/nothing/x", 404, None),
        ]
        for path, code, message in rows:
            status, answer = self.put(path, b"x")
            self.assertEqual((status, answer["code"]), (code, code), answer)
            if message:
                self.assertEqual(answer["message"], message)
        self.assertEqual(self.form([(self.folder, b"x")])[0], 400)
        status, body, _ = self.guest.request("POST", "/files", b"x", OCTETS)
        self.assertEqual((status, json.loads(body)["message"]),
                         (400, "path query parameter is required for raw body upload"))
        status, body, _ = self.guest.request("POST", "/files?path=x", b"x", {"content-type": "text/plain"})
        self.assertEqual(json.loads(body)["message"], "unsupported content type: text/plain, expected "
                                                      "multipart/form-data or application/octet-stream")

    def test_an_upload_that_breaks_off_leaves_no_new_file(self):
        self.write("old", b"before")
        for name in "new", "old":
            with self.guest.socket() as client:
                client.sendall(b"POST /files?path=" + self.path(name).encode() +
                               b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                               b"Content-Type: application/octet-stream\r\n\r\npart")
                while not os.path.exists(self.path(name)) or self.read(name) != b"part":
                    pass
        while os.path.exists(self.path("new")):
            pass
        self.assertTrue(os.path.exists(self.path("old")))


class Downloads(FilesTest):
    def get(self, path, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.guest.request("GET", "/files?" + quoted(path=path), headers=headers)

    def test_an_empty_file_has_a_length(self):
        status, body, headers = self.get(self.write("f", b""))
        self.assertEqual((status, body, headers["Content-Length"]), (200, b"", "0"))

    def test_a_download_is_named(self):
        self.assertEqual(self.get(self.write("a b.txt"))[2]["Content-Disposition"], 'inline; filename="a b.txt"')
        for name in "\u00fc\".txt", "line\r\nX-Evil: 1", "\u00fc" * 127:
            status, _, headers = self.get(self.write(name))
            self.assertEqual((status, headers["Content-Disposition"]), (200, "inline; filename*=utf-8''" + "".join(
                f"%{byte:02X}" for byte in name.encode())))
            self.assertNotIn("X-Evil", headers)

    def test_ranges_and_their_errors(self):
        path = self.write("f", b"0123456789")
        rows = [("bytes=0-0", 206, b"0"), ("bytes=8-", 206, b"89"), ("bytes=-3", 206, b"789"),
                ("bytes=5-100", 206, b"56789"), ("bytes=10-", 416, b""), ("bytes=-0", 416, b""),
                ("bytes=3-2", 200, b"0123456789"), ("bytes=0-1,3-4", 200, b"0123456789"),
                ("lines=1-2", 200, b"0123456789")]
        for given, status, body in rows:
            self.assertEqual(self.get(path, range=given)[:2], (status, body), given)

    def test_encodings_that_cannot_be_served_are_refused(self):
        path = self.write("f", b"text")
        for accept, code in ("gzip, deflate", 200), ("identity;q=0, gzip", 406), ("*;q=0", 406), ("*;q=0.0", 406), \
                ("identity, *;q=0", 200), ("gzip;q=0", 200), ("*;q=0.5", 200), ("", 200), (";;,,;q=", 200):
            status, body, headers = self.get(path, accept_encoding=accept)
            self.assertEqual(status, code, accept)
            self.assertNotIn("Content-Encoding", headers)
            if code == 406:
                self.assertEqual(json.loads(body)["code"], 406)

    def test_files_of_the_kernels_own_have_content(self):
        for path in "/proc/self/status", "/proc/sys/kernel/ostype":
            status, body, headers = self.get(path)
            self.assertEqual((status, headers["Content-Length"]), (200, str(len(body))))
            self.assertTrue(body)

    def test_what_is_no_file_is_refused(self):
        os.mkfifo(self.path("pipe"))
        for path, code in (self.path("pipe"), 400), ("/dev/zero", 400), (self.folder, 400), (self.path("x"), 404), \
                ("~other", 400):
            self.assertEqual(self.get(path)[0], code, path)

    def test_a_file_that_shrinks_breaks_the_answer_off(self):
        path = self.write("f", bytes(30_000_000))
        connection = self.guest.connection()
        connection.request("GET", "/files?" + quoted(path=path))
        response = connection.getresponse()
        response.read(10)
        os.truncate(path, 100)
        with self.assertRaises(Exception):
            while response.read(1 << 20):
                pass
            raise AssertionError("it ended as if it were whole")
        connection.close()


class Signatures(FilesTest):
    TOKEN = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"

    def setUp(self):
        super().setUp()
        self.guest.request("POST", "/init", json.dumps({"accessToken": self.TOKEN}))
        self.write("f", b"content")

    def sign(self, path, operation, username="", expiration=None):
        text = f"{path}:{operation}:{username}:{self.TOKEN}" + (f":{expiration}" if expiration is not None else "")
        return "v1_" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")

    def ask(self, method="GET", headers=None, **query):
        status, body, _ = self.guest.request(method, "/files?" + quoted(**query), b"new" if method == "POST" else None,
                                             {**OCTETS, **(headers or {})})
        return status, json.loads(body)["message"] if status == 401 else body

    def test_signed_addresses_open_their_file_only(self):
        path = self.path("f")
        later = int(time.time()) + 1000
        good = {"path": path, "signature": self.sign(path, "read")}
        self.assertEqual(self.ask(**good), (200, b"content"))
        self.assertEqual(self.ask(path=path, username=ME.pw_name, signature=self.sign(path, "read", ME.pw_name)),
                         (200, b"content"))
        self.assertEqual(self.ask(path=path, signature=self.sign(path, "read", "", later),
                                  signature_expiration=later), (200, b"content"))
        self.assertEqual(self.ask("POST", path=path, signature=self.sign(path, "write"))[0], 200)
        self.assertEqual(self.read("f"), b"new")
        self.assertEqual(self.ask(headers={"x-access-token": self.TOKEN}, path=path)[0], 200)

    def test_all_else_is_refused_in_e2bs_words(self):
        path = self.path("f")
        now = int(time.time())
        read = self.sign(path, "read")
        rows = [
            ("GET", {"path": path}, "missing signature query parameter"),
            ("GET", {"path": path, "signature": ""}, "invalid signature"),
            ("GET", {"path": path, "signature": read[:-1]}, "invalid signature"),
            ("GET", {"path": path, "signature": read + "="}, "invalid signature"),
            ("GET", {"path": path, "signature": "x" * 5000}, "invalid signature"),
            ("GET", {"path": "/etc/passwd", "signature": read}, "invalid signature"),
            ("POST", {"path": path, "signature": read}, "invalid signature"),
            ("GET", {"path": path, "signature": self.sign(path, "write")}, "invalid signature"),
            ("GET", {"path": path, "username": "root", "signature": read}, "invalid signature"),
            ("GET", {"path": path, "signature": read, "signature_expiration": now + 9}, "invalid signature"),
            ("GET", {"path": path, "signature": self.sign(path, "read", "", now + 9)}, "invalid signature"),
            ("GET", {"path": path, "signature": self.sign(path, "read", "", now + 9),
                     "signature_expiration": now + 10}, "invalid signature"),
            ("GET", {"path": path, "signature": read, "signature_expiration": "soon"}, "invalid signature"),
            ("GET", {"path": path, "signature": self.sign(path, "read", "", now - 9),
                     "signature_expiration": now - 9}, "signature is already expired"),
        ]
        for method, query, message in rows:
            self.assertEqual(self.ask(method, **query), (401, message), query)
        self.assertEqual(self.ask(headers={"x-access-token": "wrong"}, path=path, signature=read),
                         (401, "access token present in header but does not match"))
        self.assertEqual(self.read("f"), b"content")
        self.assertEqual(self.guest.request("POST", "/files/compose?" + quoted(path=path, signature=read), b"{}")[0], 401)


class Compose(FilesTest):
    def compose(self, body):
        status, answer, _ = self.guest.request("POST", "/files/compose", body if isinstance(body, bytes)
                                               else json.dumps(body), {"content-type": "application/json"})
        return status, json.loads(answer)

    def test_sources_become_one_file_and_are_gone(self):
        parts = [os.urandom(1_000_001), b"", b"end"]
        sources = [self.write(f"part{number}", data) for number, data in enumerate(parts)]
        self.write("all", b"what was there before")
        for destination in self.path("new/all"), self.path("all"):
            status, answer = self.compose({"source_paths": sources, "destination": destination})
            self.assertEqual((status, answer), (200, {"name": "all", "path": destination, "type": "file"}))
            self.assertEqual(self.read(destination), b"".join(parts))
            self.assertFalse(any(os.path.exists(source) for source in sources))
            for number, data in enumerate(parts):
                self.write(f"part{number}", data)

    def test_what_is_refused_changes_nothing(self):
        source = self.write("s", b"source")
        self.write("d", b"before")
        destination = self.path("d")
        rows = [
            (b"", 400, "invalid request body: a JSON object is wanted"),
            (b"[", 400, "invalid request body: a JSON object is wanted"),
            ({"destination": destination}, 400, "source_paths must not be empty"),
            ({"source_paths": [], "destination": destination}, 400, "source_paths must not be empty"),
            ({"source_paths": [source]}, 400, "destination is required"),
            ({"source_paths": [source, 7], "destination": destination}, 400, "source_paths: a path is wanted"),
            ({"source_paths": [source, destination], "destination": destination}, 400,
             f'source path "{destination}" cannot be the same as destination'),
            ({"source_paths": [source, self.path("gone")], "destination": destination}, 404,
             "source file not found: " + self.path("gone")),
            ({"source_paths": [source, self.folder], "destination": destination}, 400,
             "source path is not a regular file: " + self.folder),
            ({"source_paths": [source], "destination": self.folder}, 400, "path is a directory: " + self.folder),
            ({"source_paths": [source], "destination": self.path("s/x")}, 500, None),
            ({"source_paths": [source], "destination": destination, "username": "nobodyx"}, 401,
             "error looking up user 'nobodyx': user: unknown user nobodyx"),
            ({"source_paths": [source], "destination": destination, "username": 1}, 400, None),
            ({"source_paths": [source] * 10001, "destination": destination}, 400, None),
        ]
        for body, code, message in rows:
            status, answer = self.compose(body)
            self.assertEqual((status, answer["code"]), (code, code), answer)
            if message:
                self.assertEqual(answer["message"], message)
        self.assertEqual((self.read("s"), self.read("d")), (b"source", b"before"))
        self.assertEqual(sorted(os.listdir(self.folder)), ["d", "s"])


class Metrics(FilesTest):
    def test_all_fields_are_told(self):
        metrics = json.loads(self.guest.request("GET", "/metrics")[1])
        self.assertEqual(sorted(metrics), sorted([
            "ts", "cpu_count", "cpu_used_pct", "mem_total", "mem_used", "mem_cache", "mem_total_mib", "mem_used_mib",
            "disk_used", "disk_total"]))
        self.assertLess(abs(metrics["ts"] - time.time()), 5)
        self.assertEqual(metrics["cpu_count"], os.cpu_count())
        self.assertEqual(metrics["mem_total_mib"], metrics["mem_total"] // 1048576)
        self.assertTrue(0 < metrics["mem_used"] < metrics["mem_total"])
        self.assertTrue(0 < metrics["disk_used"] <= metrics["disk_total"])
        self.assertTrue(0 <= metrics["cpu_used_pct"] <= 100)


if __name__ == "__main__":
    host_test.PROGRAM = sys.argv.pop(1)
    unittest.main()
