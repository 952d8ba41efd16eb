"""Images made by hand, of a small root filesystem of this machine's own programs: layouts, archives and whole trees."""
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

PROGRAMS = ("bash", "cat", "chmod", "chown", "cp", "cut", "date", "dirname", "echo", "env", "grep", "head", "hostname", "id", "ln", "ls", "mkdir",
            "mktemp", "mv", "ps", "rm", "sed", "sleep", "stat", "sync", "tail", "tar", "test", "touch", "true", "uname", "wc")


def root(folder):
    """A tree in which a sandbox's commands can run."""
    for path in ("usr/bin", "usr/lib", "usr/lib64", "etc", "tmp"):
        os.makedirs(os.path.join(folder, path))
    for name in ("bin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(folder, name))
    for name in PROGRAMS:
        program = shutil.which(name)
        if not program:
            continue
        shutil.copy(os.path.realpath(program), os.path.join(folder, "usr/bin", name))
        listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for library in re.findall(r"(?:=> )?(/\S+) \(", listed):
            to = os.path.join(folder, "usr" if library.startswith("/lib") else ".", library.lstrip("/"))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if not os.path.exists(to):
                shutil.copy(library, to)
    os.symlink("bash", os.path.join(folder, "usr/bin/sh"))
    return folder


def tar_of(folder):
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        tar.add(folder, arcname=".", filter=lambda info: info.replace(uid=0, gid=0, uname="", gname="", deep=False))
    return blob.getvalue()


def layer(*rows):
    """A tar of (name, content) rows: bytes, None for a folder, ("symlink"|"link", target), or a TarInfo's own fields in a dict."""
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in rows:
            info = tarfile.TarInfo(name)
            data = b""
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, tuple):
                info.type = {"symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE}[content[0]]
                info.linkname = content[1]
            elif isinstance(content, dict):
                data = content.pop("data", b"")
                for field, value in content.items():
                    setattr(info, field, value)
            else:
                data = content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return blob.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config(layers, env=(), **more):
    return {"os": "linux", "architecture": "amd64", "config": {"Env": list(env)},
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]}, **more}


class Layout:
    """An OCI image layout in a folder."""

    def __init__(self, folder):
        self.folder, self.manifests = folder, []
        os.makedirs(os.path.join(folder, "blobs", "sha256"))
        self._write("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())

    def _write(self, name, data):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(data)

    def blob(self, data, kind):
        self._write(f"blobs/sha256/{digest(data)[len('sha256:'):]}", data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def image(self, layers, env=(), packed=lambda data: gzip.compress(data, mtime=0), **more):
        """Its descriptor; packed: how layers are compressed."""
        kept = self.blob(json.dumps(config(layers, env, **more)).encode(), "application/vnd.oci.image.config.v1+json")
        blobs = [self.blob(packed(one), "application/vnd.oci.image.layer.v1.tar+gzip") for one in layers]
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": kept, "layers": blobs}
        return self.blob(json.dumps(manifest).encode(), manifest["mediaType"])

    def index(self, *descriptors):
        self._write("index.json", json.dumps({"schemaVersion": 2, "manifests": list(descriptors)}).encode())
        return self.folder


def docker_archive(layers, env=()):
    """What docker save writes."""
    kept = json.dumps(config(layers, env)).encode()
    name = digest(kept)[len("sha256:"):] + ".json"
    names = [f"{number}/layer.tar" for number, _ in enumerate(layers)]
    manifest = [{"Config": name, "RepoTags": ["small:latest"], "Layers": names}]
    return layer((name, kept), *zip(names, layers), ("manifest.json", json.dumps(manifest).encode()))
