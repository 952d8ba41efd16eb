#!/usr/bin/env python3
"""Those who watch folders: streams and polled watchers, as E2B's clients use them.

usage: watch_test.py PROGRAM
"""
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import host_test
from host_test import GuestTest


class WatchTest(GuestTest):
    def rpc(self, method, **message):
        return self.guest.call("filesystem.Filesystem/" + method, message)

    def watch(self, headers=None, **message):
        """A stream that has begun."""
        stream = self.guest.stream("filesystem.Filesystem/WatchDir", {"path": self.folder, **message}, headers)
        self.assertEqual(stream.next(), (0, {"start": {}}))
        return stream

    def until(self, stream, name, kind):
        """All (name, type) up to that one, each as often as it came."""
        seen = []
        while (name, kind) not in seen:
            flags, message = stream.next()
            self.assertEqual(flags, 0, message)
            if "filesystem" in message:
                event = message["filesystem"]
                seen.append((event["name"], event["type"].removeprefix("EVENT_TYPE_")))
        return seen

    def create(self, **message):
        status, answer = self.rpc("CreateWatcher", path=self.folder, **message)
        self.assertEqual(status, 200, answer)
        return answer["watcherId"]

    def events(self, watcher):
        status, answer = self.rpc("GetWatcherEvents", watcherId=watcher)
        self.assertEqual(status, 200, answer)
        return [(event["name"], event["type"].removeprefix("EVENT_TYPE_")) for event in answer["events"]]

    def write(self, name, text="x"):
        with open(self.path(name), "w") as file:
            file.write(text)


class Kinds(WatchTest):
    def test_each_change_is_told_as_fsnotify_tells_it(self):
        self.write("old")
        watcher = self.create()
        acts = [
            (lambda: self.write("f"), [("f", "CREATE"), ("f", "WRITE")]),
            (lambda: os.chmod(self.path("f"), 0o600), [("f", "CHMOD")]),
            (lambda: os.rename(self.path("f"), self.path("g")), [("f", "RENAME"), ("g", "CREATE")]),
            (lambda: os.unlink(self.path("g")), [("g", "REMOVE")]),
            (lambda: os.mkdir(self.path("d")), [("d", "CREATE")]),
            (lambda: self.write("d/inside"), []),
            (lambda: os.chmod(self.path("d"), 0o700), [("d", "CHMOD")]),
            (lambda: os.chmod(self.folder, 0o755), [(".", "CHMOD")]),
            (lambda: os.symlink("x", self.path("l")), [("l", "CREATE")]),
            (lambda: shutil.rmtree(self.path("d")), [("d", "REMOVE")]),
        ]
        for number, (act, expected) in enumerate(acts):
            act()
            self.assertEqual(self.events(watcher), expected, number)

    def test_what_happens_to_the_folder_itself_is_told(self):
        for act, expected in ((lambda: os.rename(self.path("w"), self.path("v")), "RENAME"),
                              (lambda: os.rmdir(self.path("w")), "REMOVE")):
            os.mkdir(self.path("w"))
            watcher = self.rpc("CreateWatcher", path=self.path("w"), recursive=True)[1]["watcherId"]
            act()
            self.assertEqual(self.events(watcher), [(".", expected)])
            self.assertEqual(self.events(watcher), [])

    def test_entries_are_told_when_asked_for(self):
        stream = self.watch(includeEntry=True)
        self.write("f")
        os.unlink(self.path("f"))
        entries = []
        while not entries or entries[-1]["type"] != "EVENT_TYPE_REMOVE":
            entries.append(stream.next()[1]["filesystem"])
        self.assertNotIn("entry", entries[-1])
        os.mkdir(self.path("d"))
        event = stream.next()[1]["filesystem"]
        self.assertEqual((event["entry"]["path"], event["entry"]["type"], event["entry"]["name"]),
                         (self.path("d"), "FILE_TYPE_DIRECTORY", "d"))
        stream.close()


class Recursive(WatchTest):
    def test_folders_of_before_and_after_are_followed(self):
        os.makedirs(self.path("a/b"))
        watcher = self.create(recursive=True)
        self.write("a/b/f")
        self.assertEqual(self.events(watcher), [("a/b/f", "CREATE"), ("a/b/f", "WRITE")])
        os.mkdir(self.path("a/c"))
        self.assertEqual(self.events(watcher), [("a/c", "CREATE")])
        self.write("a/c/g")
        self.assertEqual(self.events(watcher), [("a/c/g", "CREATE"), ("a/c/g", "WRITE")])
        os.chmod(self.path("a/c"), 0o700)
        self.assertEqual(self.events(watcher), [("a/c", "CHMOD")])

    def test_what_was_there_before_the_watch_is_told(self):
        watcher = self.create(recursive=True)
        os.makedirs(self.path("one/two/three"))
        self.write("one/two/f")
        seen = self.events(watcher)
        for name in "one", "one/two", "one/two/three", "one/two/f":
            self.assertIn((name, "CREATE"), seen)
        self.assertLess(seen.index(("one", "CREATE")), seen.index(("one/two", "CREATE")))
        self.write("one/two/three/late")
        self.assertIn(("one/two/three/late", "CREATE"), self.events(watcher))

    def test_folders_that_move_are_followed_under_their_new_name(self):
        os.makedirs(self.path("a/b"))
        watcher = self.create(recursive=True)
        os.rename(self.path("a"), self.path("z"))
        seen = self.events(watcher)
        self.assertEqual(seen[:2], [("a", "RENAME"), ("z", "CREATE")])
        self.write("z/b/f")
        self.assertEqual(self.events(watcher), [("z/b/f", "CREATE"), ("z/b/f", "WRITE")])
        os.mkdir(self.path("a"))
        # Told, it is watched; of what is written before that only the file is told.
        self.assertEqual(self.events(watcher), [("a", "CREATE")])
        self.write("a/g")
        self.assertEqual(self.events(watcher), [("a/g", "CREATE"), ("a/g", "WRITE")])

    def test_folders_move_out_and_in_again(self):
        outside = tempfile.mkdtemp(dir=os.path.dirname(self.folder))
        os.makedirs(self.path("a/b"))
        watcher = self.create(recursive=True)
        os.rename(self.path("a"), os.path.join(outside, "a"))
        self.assertEqual(self.events(watcher), [("a", "RENAME")])
        with open(os.path.join(outside, "a/b/f"), "w"):
            pass
        self.assertEqual(self.events(watcher), [])
        os.rename(os.path.join(outside, "a"), self.path("in"))
        seen = self.events(watcher)
        for name in "in", "in/b", "in/b/f":
            self.assertEqual(seen.count((name, "CREATE")), 1, seen)
        self.write("in/b/g")
        self.assertEqual(self.events(watcher), [("in/b/g", "CREATE"), ("in/b/g", "WRITE")])
        shutil.rmtree(outside)

    def test_a_folder_that_covers_another_is_the_one_that_is_followed(self):
        for name in "a/x", "b":
            os.makedirs(self.path(name))
        watcher = self.create(recursive=True)
        os.rename(self.path("a"), self.path("b"))
        self.events(watcher)
        self.write("b/x/f")
        self.assertEqual(self.events(watcher), [("b/x/f", "CREATE"), ("b/x/f", "WRITE")])

    def test_links_to_folders_are_not_followed(self):
        os.mkdir(self.path("d"))
        os.symlink("d", self.path("link"))
        os.symlink("..", self.path("d/up"))
        watcher = self.create(recursive=True)
        self.write("d/f")
        self.assertEqual(self.events(watcher), [("d/f", "CREATE"), ("d/f", "WRITE")])

    def test_a_storm_of_folders_ends_in_a_true_picture(self):
        watcher = self.create(recursive=True)
        script = ("for i in $(seq 40); do mkdir -p a$i/b/c; mv a$i m$i; touch m$i/b/c/f; "
                  "[ $((i % 3)) = 0 ] && rm -r m$i; mkdir -p m$i; mv m$i n$i; done")
        process = subprocess.Popen(["sh", "-c", script], cwd=self.folder)
        while process.poll() is None:
            self.events(watcher)
        self.events(watcher)
        expected = []
        for name in sorted(os.listdir(self.folder)):
            self.write(name + "/last")
            expected += [(name + "/last", "CREATE"), (name + "/last", "WRITE")]
        self.assertEqual(self.events(watcher), expected)


class Streams(WatchTest):
    def test_events_arrive_while_they_happen_and_a_stop_frees_the_watcher(self):
        for _ in range(150):  # more than may be open at a time
            stream = self.watch(recursive=True)
            self.write("f")
            self.until(stream, "f", "WRITE")
            stream.close()

    def test_silence_is_broken_by_keepalives(self):
        stream = self.watch(headers={"keepalive-ping-interval": "1"})
        self.assertEqual(stream.next(), (0, {"keepalive": {}}))
        stream.close()

    def test_the_deadline_of_the_call_ends_it(self):
        stream = self.watch(headers={"connect-timeout-ms": "300"})
        flags, message = stream.next()
        self.assertEqual((flags, message["error"]["code"]), (2, "deadline_exceeded"))
        stream.close()

    def test_a_slow_reader_costs_no_memory_and_is_told_of_what_it_missed(self):
        stream = self.watch()
        names = [self.path(f"{number}" + "x" * 200) for number in range(2)]
        for number in range(60_000):  # more than the kernel keeps, the queue and the connection hold
            os.close(os.open(names[number % 2], os.O_CREAT))
            os.unlink(names[number % 2])
        while True:
            flags, message = stream.next()
            if flags:
                break
        self.assertEqual((flags, message["error"]["code"]), (2, "internal"))
        self.assertIn("overflow", message["error"]["message"])
        stream.close()

    def test_a_reader_that_keeps_up_misses_nothing(self):
        stream = self.watch()
        total = 2_000

        def write():
            for number in range(total):
                os.mkdir(self.path(f"d{number}"))

        writer = threading.Thread(target=write)
        writer.start()
        seen = self.until(stream, f"d{total - 1}", "CREATE")
        writer.join()
        self.assertEqual(seen, [(f"d{number}", "CREATE") for number in range(total)])
        stream.close()


class Polled(WatchTest):
    def test_a_watcher_stays_until_it_is_removed(self):
        watcher = self.create()
        self.write("f")
        self.assertEqual(self.events(watcher), [("f", "CREATE"), ("f", "WRITE")])
        self.assertEqual(self.events(watcher), [])
        self.assertEqual(self.rpc("RemoveWatcher", watcherId=watcher), (200, {}))
        for method in "GetWatcherEvents", "RemoveWatcher":
            status, answer = self.rpc(method, watcherId=watcher)
            self.assertEqual((status, answer), (404, {"code": "not_found",
                                                      "message": f"watcher with id {watcher} not found"}))

    def test_watchers_are_bounded(self):
        ids = [self.create() for _ in range(100)]
        self.assertEqual(len(set(ids)), 100)
        status, answer = self.rpc("CreateWatcher", path=self.folder)
        self.assertEqual((status, answer["code"]), (429, "resource_exhausted"))
        stream = self.guest.stream("filesystem.Filesystem/WatchDir", {"path": self.folder})
        self.assertEqual(stream.next()[1]["error"]["code"], "resource_exhausted")
        stream.close()
        self.rpc("RemoveWatcher", watcherId=ids[0])
        self.create()

    def test_events_that_wait_are_bounded_and_their_loss_is_told(self):
        watcher = self.create()
        name = self.path("f")
        for _ in range(40_000):
            os.close(os.open(name, os.O_CREAT))
            os.unlink(name)
        total = 0
        while True:
            status, answer = self.rpc("GetWatcherEvents", watcherId=watcher)
            if status != 200:
                break
            self.assertTrue(answer["events"])
            total += len(answer["events"])
        self.assertGreater(total, 1000)
        self.assertLess(total, 80_000)
        self.assertEqual(answer, {"code": "internal",
                                  "message": "watcher error: fsnotify: queue or buffer overflow"})
        self.assertEqual(self.rpc("RemoveWatcher", watcherId=watcher)[0], 200)

    def test_more_folders_than_can_be_watched_are_refused(self):
        for number in range(8200):
            os.mkdir(self.path(f"d{number}"))
        status, answer = self.rpc("CreateWatcher", path=self.folder, recursive=True)
        self.assertEqual((status, answer["code"]), (429, "resource_exhausted"))
        self.create()

    def test_a_large_folder_that_moves_in_is_told_or_its_loss_is(self):
        outside = tempfile.mkdtemp(dir=os.path.dirname(self.folder))
        for number in range(30_000):
            os.close(os.open(os.path.join(outside, f"{number:05}" + "n" * 200), os.O_CREAT))
        watcher = self.create(recursive=True)
        os.rename(outside, self.path("in"))
        seen = 0
        while True:
            status, answer = self.rpc("GetWatcherEvents", watcherId=watcher)
            if status != 200 or not answer["events"]:
                break
            seen += len(answer["events"])
        self.assertEqual(answer.get("code"), "internal")
        self.assertGreater(seen, 5000)

    def test_what_cannot_be_watched_is_refused(self):
        self.write("file")
        rows = [
            ({"path": self.path("gone")}, "not_found",
             f"path {self.path('gone')} not found: stat {self.path('gone')}: no such file or directory"),
            ({"path": self.path("file")}, "invalid_argument", f"path {self.path('file')} not a directory"),
            ({"path": self.folder, "recursive": "yes"}, "invalid_argument", None),
            ({"path": self.folder, "includeEntry": 1}, "invalid_argument", None),
            ({"path": ["a"]}, "invalid_argument", None),
            ({"path": "~other"}, "invalid_argument", None),
        ]
        for message, code, text in rows:
            for answer in (self.rpc("CreateWatcher", **message)[1],
                           self.guest.stream("filesystem.Filesystem/WatchDir", message).finish()[2]["error"]):
                self.assertEqual(answer["code"], code, message)
                if text:
                    self.assertEqual(answer["message"], text)
        for method in "GetWatcherEvents", "RemoveWatcher":
            for watcher in {}, {"watcherId": ""}, {"watcherId": 7}, {"watcherId": "w" + "0" * 20}:
                self.assertEqual(self.rpc(method, **watcher)[1]["code"], "not_found")
        self.assertEqual(self.rpc("CreateWatcher", path=self.folder, allowNetworkMounts=True)[0], 200)


if __name__ == "__main__":
    host_test.PROGRAM = sys.argv.pop(1)
    unittest.main()
