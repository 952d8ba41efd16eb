"""A store of templates of a fleet's own, beside the shared one and with the same files: what others build there
meanwhile is in no pool of this fleet's agents, and what its tenants build goes with it."""
import json
import os
import shutil
import tempfile


def _link_tree(source, target):
    """The files are the same, not copies.  What is taken away meanwhile is left out."""
    os.makedirs(target)
    for entry in os.scandir(source):
        there = os.path.join(target, entry.name)
        try:
            if entry.is_dir(follow_symlinks=False):
                _link_tree(entry.path, there)
            else:
                os.link(entry.path, there, follow_symlinks=False)
        except FileNotFoundError:
            pass


def make(shared, names):
    """The folder; the caller removes it.  names: templates of the shared store."""
    store = tempfile.mkdtemp(prefix="templates-", dir=os.path.dirname(shared))
    for part in ("layer", "step"):
        if os.path.isdir(os.path.join(shared, part)):
            _link_tree(os.path.join(shared, part), os.path.join(store, part))
    shutil.copy(os.path.join(shared, "accel.json"), store)
    os.mkdir(os.path.join(store, "name"))
    for name in names:
        snapshot = os.path.realpath(os.path.join(shared, "name", name))
        with open(os.path.join(snapshot, "manifest.json")) as file:
            rootfs = json.load(file)["rootfs"]
        for part, id_ in (("snapshot", os.path.basename(snapshot)), ("rootfs", rootfs)):
            if not os.path.isdir(os.path.join(store, part, id_)):
                _link_tree(os.path.join(shared, part, id_), os.path.join(store, part, id_))
        os.symlink(os.path.join("..", "snapshot", os.path.basename(snapshot)), os.path.join(store, "name", name))
    return store
