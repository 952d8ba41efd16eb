#!/usr/bin/env python3
"""Templates of images: of the operator's files, and of a registry, for the operator and for tenants."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ecr  # noqa: E402
import images  # noqa: E402
import registry  # noqa: E402
from fleet import BIN, TEMPLATES, Fleet, run_tests  # noqa: E402

NAME, UPON, PULLED = "flotilla-test-image", "flotilla-test-upon-image", "flotilla-test-pulled"
work = tempfile.mkdtemp(prefix="flotilla-images-")
ROOT = images.tar_of(images.root(os.path.join(work, "root")))
MORE = images.layer(("opt", None), ("opt/said", b"of the image\n"), ("usr/bin/.wh.date", b""))


def layout(folder, *layers, env=("PATH=/opt/tools:/usr/bin:/bin", "WORD=of the image", "1BAD=x"), **more):
    kept = images.Layout(os.path.join(work, folder))
    return kept.index(kept.image(layers, env, **more))


def template(*words, spec=None):
    """(lines of progress, result) of flotilla-template."""
    words = [words[0], "--template-dir", TEMPLATES, "--progress", "json", "--disk-mib", "2048", *words[1:]]
    if spec is not None:
        with open(os.path.join(work, "spec.json"), "w") as file:
            json.dump(spec, file)
        words += ["--spec", os.path.join(work, "spec.json")]
    done = subprocess.run([os.path.join(BIN, "flotilla-template"), *words], capture_output=True, text=True, timeout=240)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and "result" in lines[-1], done
    return [line["message"] for line in lines[:-1]], lines[-1]["result"]


def ran(fleet, key, name, script):
    env = {**os.environ, "FLOTILLA_API_KEY": key}
    words = ["--api-url", "http://" + fleet.scheduler.addresses["api"], "--gateway-url", "http://" + fleet.gateway.addresses["tenants"]]
    done = subprocess.run([os.path.join(BIN, "flotilla"), "run", *words, name, "--", "bash", "-c", script], env=env, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done
    return done.stdout.splitlines()


def an_image_becomes_a_template():
    said, result = template("import", NAME, "--from", layout("first", ROOT, MORE))
    assert result["status"] == "ready" and result["diskMiB"] == 2048, result
    assert any("layer 2 of 2" in line for line in said) and any("`1BAD`" in line for line in said), said
    said, same = template("import", NAME, "--from", os.path.join(work, "first"))
    assert same["id"] == result["id"] and "CACHED unpacking the image" in said, said


def its_sandboxes_have_nothing_below_it():
    with Fleet(template=NAME) as fleet:
        key = fleet.tenant("image")
        said = ran(fleet, key, NAME, "cat /opt/said; id -un; pwd; echo $WORD; touch /opt/mine 2>&1 | grep -c denied; "
                                     "ls /usr/bin/date /usr/bin/python3 /lower 2>&1 | grep -c 'No such'")
        assert said == ["of the image", "user", "/home/user", "of the image", "1", "3"], said
        status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": NAME}, key=key)
        assert status == 201, sandbox
        # From its files alone: it boots anew, by its own root.
        path = f"/sandboxes/{sandbox['sandboxID']}"
        assert fleet.in_guest(sandbox, "POST", "/files?path=/home/user/kept", b"written", headers={"content-type": "application/octet-stream"})[0] == 200
        assert fleet.api("POST", path + "/pause", {"memory": False}, key=key)[0] == 204
        assert fleet.api("POST", path + "/resume", {}, key=key)[0] == 201
        assert fleet.in_guest(sandbox, "GET", "/files?path=/home/user/kept&username=user")[1] == "written"
        assert fleet.in_guest(sandbox, "GET", "/files?path=/opt/said&username=user")[1] == "of the image\n"


def steps_go_on_from_it():
    run = {"type": "RUN", "args": ["echo $WORD; cat /opt/said; echo built >/opt/built", "root"]}
    said, result = template("build", UPON, spec={"fromTemplate": NAME, "steps": [run]})
    assert result["status"] == "ready" and said.count("of the image") == 2, (said, result)
    said, result = template("import", UPON, "--from", os.path.join(work, "first"), spec={"steps": [run], "startCmd": "sleep 1000", "readyCmd": "test -e /opt/built"})
    assert result["status"] == "ready" and "CACHED unpacking the image" in said, (said, result)


def one_that_was_copied_here_without_its_layers_is_built_upon():
    with open(os.path.join(TEMPLATES, "name", NAME, "build.json")) as file:
        layer = os.path.join(TEMPLATES, "layer", json.load(file)["layer"])
    shutil.rmtree(layer)
    said, result = template("build", UPON, spec={"fromTemplate": NAME, "steps": [{"type": "RUN", "args": ["cat /opt/said; echo $WORD >more"]}]})
    assert result["status"] == "ready" and "of the image" in said and os.path.exists(layer), (said, result)


def what_is_wrong_with_an_image_is_told():
    for words, reason in (
            (("--from", os.path.join(work, "nothing")), "No such file"), (("--from", work), "no oci-layout"), (("--from", "/dev/null"), "is wanted"),
            (("--from", layout("arm", ROOT, architecture="arm64")), "is for linux/arm64, not for linux/amd64"),
            (("--from", layout("bare", MORE)), "no /bin/bash"), (("--image", "r.test/NOT"), "image `r.test/NOT`")):
        said, result = template("import", "flotilla-test-broken", *words)
        assert result["status"] == "error" and reason in result["reason"]["message"], (words, result)
    assert not os.path.lexists(os.path.join(TEMPLATES, "name", "flotilla-test-broken"))
    for words in (("import", "x"), ("import", "x", "--from", "a", "--image", "b"), ("import", "../x", "--from", "a")):
        done = subprocess.run([os.path.join(BIN, "flotilla-template"), *words, "--template-dir", TEMPLATES], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2 and done.stderr, done


def an_image_that_is_larger_than_the_disk_is_refused():
    big = images.layer(("big", os.urandom(80 << 20)))
    path = layout("big", ROOT, big, packed=lambda data: data)
    said, result = template("import", "flotilla-test-broken", "--from", path, "--disk-mib", "64")
    assert result["status"] == "error" and "does not fit" in result["reason"]["message"], result


def images_are_fetched_from_a_registry():
    with registry.Registry(work) as there:
        reference = there.push(os.path.join(work, "first"), "team/small:v1")
        _, result = template("import", PULLED, "--image", reference)
        assert result["status"] == "error" and "authentication required" in result["reason"]["message"], (result, "nobody in particular may not")
        said, result = template("import", PULLED, "--image", reference, "--registry-auth", there.auth_file())
        assert result["status"] == "ready" and f"fetching {reference}" in said, (said, result)
        spec = {"fromImage": reference, "steps": [{"type": "RUN", "args": ["cat /opt/said"]}],
                "fromImageRegistry": {"type": "registry", "username": registry.USER, "password": registry.PASSWORD}}
        _, result = template("build", PULLED, spec=spec)
        assert result["status"] == "error" and "may not be fetched" in result["reason"]["message"], result
        said, result = template("build", PULLED, "--registry-allow", f"docker.io,{there.address}/team", spec=spec)
        assert result["status"] == "ready" and "of the image" in said, (said, result)
        assert not any(registry.PASSWORD in line for line in said), said
        unknown = there.address + "/team/unknown:v1"
        _, result = template("build", PULLED, "--registry-allow", "*", spec={**spec, "fromImage": unknown})
        assert result["status"] == "error" and unknown + " cannot be fetched: " in result["reason"]["message"], result
        assert "manifest unknown" in result["reason"]["message"], result
        wrong = {**spec["fromImageRegistry"], "password": "wrong"}
        _, result = template("build", PULLED, "--registry-allow", "*", spec={**spec, "fromImageRegistry": wrong})
        assert result["status"] == "error" and "authentication required" in result["reason"]["message"], result
        large = {**spec, "fromImage": there.push(layout("large", ROOT, images.layer(("big", os.urandom(3 << 20)))), "team/large:v1")}
        _, result = template("build", PULLED, "--registry-allow", "*", "--image-size", "2MiB", spec=large)
        assert result["status"] == "error" and "is larger than 2 MiB" in result["reason"]["message"], result
    assert not os.listdir(os.path.join(TEMPLATES, "tmp")), "no credentials are left behind"


def amazon_tells_the_password_of_its_registries():
    key = {"type": "aws", "awsAccessKeyId": ecr.KEY_ID, "awsSecretAccessKey": ecr.SECRET, "awsRegion": ecr.REGION}
    with registry.Registry(work) as there, ecr.Ecr(registry.USER, registry.PASSWORD) as amazon:
        words = ("build", PULLED, "--registry-allow", "*", "--ecr-endpoint", amazon.endpoint)
        spec = {"fromImage": there.push(os.path.join(work, "first"), "team/small:v1"), "fromImageRegistry": key,
                "steps": [{"type": "RUN", "args": ["cat /opt/said"]}]}
        said, result = template(*words, spec=spec)
        assert result["status"] == "ready" and not any(registry.PASSWORD in line or ecr.SECRET in line for line in said), (said, result)
        for change, reason in (({"awsSecretAccessKey": "wrong"}, "400: The security token included in the request is invalid."),
                               ({"awsRegion": "us-east-1"}, "400: Credential should be scoped to a valid region"),
                               ({"awsRegion": "x.test/"}, "awsRegion: one like"), ({"awsRegion": ""}, "awsRegion is missing")):
            _, result = template(*words, spec={**spec, "fromImageRegistry": {**key, **change}})
            assert result["status"] == "error" and reason in result["reason"]["message"], (change, result)
        _, result = template(*words[:-1], "http://127.0.0.1:1/", spec=spec)
        assert result["status"] == "error" and "127.0.0.1:1/: Failed to connect" in result["reason"]["message"], result
    assert not os.listdir(os.path.join(TEMPLATES, "tmp")), "no credentials are left behind"


if __name__ == "__main__":
    with_base = subprocess.run([os.path.join(BIN, "flotilla-template"), "build", "base", "--template-dir", TEMPLATES])
    if with_base.returncode:
        sys.exit("no base template")
    subprocess.run([os.path.join(BIN, "flotilla-template"), "rm", "flotilla-test-broken", "--template-dir", TEMPLATES], stderr=subprocess.DEVNULL)
    try:
        run_tests([an_image_becomes_a_template, its_sandboxes_have_nothing_below_it, steps_go_on_from_it,
                   one_that_was_copied_here_without_its_layers_is_built_upon, what_is_wrong_with_an_image_is_told,
                   an_image_that_is_larger_than_the_disk_is_refused, images_are_fetched_from_a_registry,
                   amazon_tells_the_password_of_its_registries])
    finally:
        shutil.rmtree(work)
