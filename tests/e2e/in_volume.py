"""Runs in a sandbox: what programs do with files, in a folder of a volume and in one of the sandbox's own disk, must come out alike.
usage: in_volume.py FOLDER..."""
import errno
import fcntl
import mmap
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile


def refused(number, act, *words, **more):
    try:
        act(*words, **more)
    except OSError as error:
        assert error.errno == number, (number, error)
    else:
        raise AssertionError(f"{act} {words} was not refused")


def files(at):
    path = os.path.join(at, "f")
    with open(path, "xb") as file:
        assert file.write(b"hello") == 5
    refused(errno.EEXIST, open, path, "xb")
    with open(path, "ab") as file:
        file.write(b" world")
    with open(path, "r+b") as file:
        file.seek(6)
        file.write(b"W")
        file.seek(0)
        assert file.read() == b"hello World"
        file.truncate(5)
    assert open(path, "rb").read() == b"hello" and os.stat(path).st_size == 5
    os.truncate(path, 100000)
    assert open(path, "rb").read() == b"hello" + bytes(99995)
    with open(path, "wb"):
        pass
    assert os.stat(path).st_size == 0
    os.remove(path)
    refused(errno.ENOENT, open, path, "rb")
    refused(errno.ENOENT, os.stat, os.path.join(at, "no", "such"))


def large(at):
    path, chance = os.path.join(at, "large"), random.Random(1)
    data = chance.randbytes(3_000_000)
    with open(path, "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    assert open(path, "rb").read() == data
    fd = os.open(path, os.O_RDWR)
    for _ in range(50):
        place, n = chance.randrange(len(data)), chance.randrange(1, 200000)
        piece = chance.randbytes(n)
        assert os.pwrite(fd, piece, place) == n
        data = (data[:place] + piece + data[place + n:])
        assert os.pread(fd, n, place) == piece
    os.close(fd)
    assert open(path, "rb").read() == data
    os.remove(path)


def folders(at):
    top = os.path.join(at, "d")
    os.makedirs(os.path.join(top, "a", "b"))
    refused(errno.EEXIST, os.mkdir, top)
    names = [f"n{number:04}" for number in range(700)]
    for name in names:
        open(os.path.join(top, "a", name), "w").close()
    assert sorted(os.listdir(os.path.join(top, "a"))) == sorted(["b", *names])
    refused(errno.ENOTEMPTY, os.rmdir, os.path.join(top, "a"))
    os.rename(os.path.join(top, "a"), os.path.join(top, "z"))
    assert os.listdir(top) == ["z"] and len(os.listdir(os.path.join(top, "z"))) == 701
    refused(errno.ENOTDIR, os.listdir, os.path.join(top, "z", "n0001"))
    refused(errno.EISDIR, open, os.path.join(top, "z"), "w")
    refused(errno.ENAMETOOLONG, open, os.path.join(top, "x" * 256), "w")
    open(os.path.join(top, "ä 日本\n'"), "w").close()
    assert "ä 日本\n'" in os.listdir(top)
    shutil.rmtree(top)
    assert not os.path.exists(top)


def links(at):
    one, two, soft = (os.path.join(at, name) for name in ("one", "two", "soft"))
    open(one, "w").write("x")
    os.link(one, two)
    assert os.stat(one).st_nlink == 2 and os.stat(one).st_ino == os.stat(two).st_ino
    open(two, "a").write("y")
    assert open(one).read() == "xy"
    os.symlink("one", soft)
    assert os.readlink(soft) == "one" and open(soft).read() == "xy" and stat.S_ISLNK(os.lstat(soft).st_mode)
    os.remove(one)
    assert open(two).read() == "xy" and os.stat(two).st_nlink == 1
    refused(errno.ENOENT, open, soft)
    os.replace(two, soft)
    assert open(soft).read() == "xy" and not os.path.islink(soft)
    os.remove(soft)
    os.mkfifo(one)
    assert stat.S_ISFIFO(os.stat(one).st_mode)
    os.remove(one)
    refused(errno.EPERM, os.mknod, one, 0o600 | stat.S_IFCHR, os.makedev(1, 3)) if "volume" in at else None


def attributes(at):
    path = os.path.join(at, "f")
    open(path, "w").close()
    os.chmod(path, 0o4751)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o4751
    os.chown(path, 1000, 1001)
    assert (os.stat(path).st_uid, os.stat(path).st_gid, stat.S_IMODE(os.stat(path).st_mode)) == (1000, 1001, 0o751)
    os.utime(path, ns=(1_500_000_000_123456789, 1_600_000_000_987654321))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == (1_500_000_000_123456789, 1_600_000_000_987654321)
    os.remove(path)
    old = os.umask(0o027)
    open(path, "w").close()
    os.mkdir(path + "d")
    os.umask(old)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640 and stat.S_IMODE(os.stat(path + "d").st_mode) == 0o750
    os.remove(path)
    os.rmdir(path + "d")
    os.mkdir(path)
    os.chown(path, 0, 1001)
    os.chmod(path, 0o2775)
    os.mkdir(os.path.join(path, "in"))
    assert os.stat(os.path.join(path, "in")).st_gid == 1001 and os.stat(os.path.join(path, "in")).st_mode & stat.S_ISGID
    shutil.rmtree(path)


def users(at):
    path = os.path.join(at, "secret")
    open(path, "w").write("x")
    os.chmod(path, 0o600)
    done = subprocess.run(["setpriv", "--reuid=1000", "--clear-groups", "cat", path], capture_output=True)
    assert done.returncode and b"Permission denied" in done.stderr, done
    os.chmod(path, 0o644)
    assert subprocess.run(["setpriv", "--reuid=1000", "--clear-groups", "cat", path], capture_output=True).stdout == b"x"
    os.remove(path)


def unlinked(at):
    with tempfile.TemporaryFile(dir=at) as file:  # has no name, or loses it at once
        file.write(b"x" * 100000)
        file.seek(0)
        assert file.read() == b"x" * 100000
    path = os.path.join(at, "f")
    with open(path, "w+") as file:
        os.remove(path)
        file.write("still")
        file.flush()
        file.seek(0)
        assert file.read() == "still" and os.fstat(file.fileno()).st_nlink == 0
    assert os.listdir(at) == []


def mapped(at):
    path = os.path.join(at, "mapped")
    open(path, "wb").write(bytes(20000))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[5000:5005] = b"there"
        memory.flush()
        assert memory[5000:5005] == b"there"
    assert open(path, "rb").read()[5000:5005] == b"there"
    os.remove(path)


def programs(at):
    base = sqlite3.connect(os.path.join(at, "base"))
    base.execute("CREATE TABLE t (x)")
    with base:
        base.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(2000)])
    assert base.execute("SELECT sum(x) FROM t").fetchone() == (1999000,)
    base.close()
    os.remove(os.path.join(at, "base"))
    with open(os.path.join(at, "locked"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    os.remove(os.path.join(at, "locked"))
    script = f"cd {at} && mkdir t && cp -a /etc/apt t/ && tar cf t.tar t && rm -r t && tar xf t.tar && diff -r /etc/apt t/apt && rm -r t t.tar"
    subprocess.run(["bash", "-c", script], check=True)
    system = os.statvfs(at)
    assert 0 < system.f_bavail <= system.f_blocks


for folder in sys.argv[1:]:
    for test in (files, large, folders, links, attributes, users, unlinked, mapped, programs):
        place = os.path.join(folder, "volume-" + test.__name__ if "/mnt/" in folder else test.__name__)
        os.mkdir(place)
        test(place)
        assert os.listdir(place) == [], (test, os.listdir(place))
        os.rmdir(place)
        print("ok", test.__name__, folder, flush=True)
