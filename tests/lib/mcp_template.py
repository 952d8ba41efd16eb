"""A template of the name that E2B's packages want for MCP, with a gateway of the tests' own (sdk/mcp_gateway.py)."""
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile

from fleet import BIN, ROOT, TEMPLATES

NAME = "mcp-gateway"
PROGRAM = os.path.join(ROOT, "tests", "sdk", "mcp_gateway.py")


def template(*words):
    subprocess.run([os.path.join(BIN, "flotilla-template"), *words, "--template-dir", TEMPLATES], check=True,
                   stdout=subprocess.DEVNULL)


def ensure():
    """Builds the template if the shared store does not have it."""
    with tempfile.TemporaryDirectory(prefix="flotilla-mcp-") as context:
        blob = io.BytesIO()
        with tarfile.open(fileobj=blob, mode="w") as tar:
            tar.add(PROGRAM, "mcp-gateway", filter=lambda info: info.replace(uid=0, gid=0, mtime=0))
        name = hashlib.sha256(blob.getvalue()).hexdigest()
        with open(os.path.join(context, name), "wb") as file:
            file.write(blob.getvalue())
        spec = os.path.join(context, "spec.json")
        with open(spec, "w") as file:
            json.dump({"fromTemplate": "base", "steps": [
                {"type": "COPY", "args": ["mcp-gateway", "/usr/local/bin/mcp-gateway", "root", "0755"], "filesHash": name}]}, file)
        template("build", "base")
        template("build", NAME, "--spec", spec, "--context", context)
