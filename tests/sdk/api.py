"""The control plane through E2B's package of PyPI, unmodified: lists, time limits, metrics, errors."""
import os
import sys
import time
from datetime import datetime, timezone

from e2b import AuthenticationException, NotFoundException, RateLimitException, Sandbox, SandboxException, SandboxQuery

sys.path.insert(0, os.environ["FLOTILLA_TESTS_LIB"])
from fleet import run_tests, wait_for  # noqa: E402

MINE = {"suite": "api", "package": "pypi"}
UNKNOWN = "i00000000000000000000"
sandbox = None


def raises(kind, call, text=""):
    try:
        call()
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")


def sandboxes_are_paged_and_filtered():
    global sandbox
    sandbox = Sandbox.create("base", timeout=120, metadata={**MINE, "a b": "c&d"})
    other = Sandbox.create("base", timeout=60, metadata=MINE)
    seen, pages = [], Sandbox.list(limit=1, query=SandboxQuery(metadata=MINE))
    while pages.has_next:
        seen += [info.sandbox_id for info in pages.next_items()]
    assert seen == [other.sandbox_id, sandbox.sandbox_id], seen
    found = Sandbox.list(query=SandboxQuery(metadata={"a b": "c&d"})).next_items()
    assert [info.sandbox_id for info in found] == [sandbox.sandbox_id], found
    assert other.kill()


def a_time_limit_is_set_and_connect_only_extends_it():
    sandbox.set_timeout(60)
    before = sandbox.get_info()
    assert before.metadata == {**MINE, "a b": "c&d"} and before.name == "base", before
    Sandbox.connect(sandbox.sandbox_id, timeout=10)
    assert sandbox.get_info().end_at == before.end_at
    Sandbox.connect(sandbox.sandbox_id, timeout=300)
    assert sandbox.get_info().end_at > before.end_at


def metrics_come_within_half_a_minute():
    sample = wait_for("a sample", 30, sandbox.get_metrics, 0.2)[0]
    assert sample.cpu_count >= 1 and 0 <= sample.cpu_used_pct <= 100, sample
    assert 0 < sample.mem_used < sample.mem_total and 0 < sample.disk_used < sample.disk_total, sample
    assert abs(sample.timestamp.timestamp() - time.time()) < 60, sample
    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc)
    assert sandbox.get_metrics(start=long_ago, end=long_ago) == []


def what_is_wrong_is_told_by_its_class():
    raises(NotFoundException, lambda: Sandbox.connect(UNKNOWN))
    raises(NotFoundException, lambda: Sandbox.get_info(UNKNOWN))
    assert Sandbox.kill(UNKNOWN) is False
    raises(SandboxException, lambda: Sandbox.create("no-such-template"), "template 'no-such-template' not found")
    raises(SandboxException, lambda: Sandbox.create("base", timeout=25 * 3600), "Timeout cannot be greater than 24 hours")
    raises(AuthenticationException, lambda: Sandbox.list(api_key="e2b_" + "0" * 40).next_items())
    raises(RateLimitException, lambda: Sandbox.create("base", api_key=os.environ["CAPPED_KEY"]),
           "maximum number of concurrent E2B sandboxes (1)")


def a_killed_sandbox_keeps_its_metrics():
    assert sandbox.kill() and not sandbox.kill()
    assert Sandbox.get_metrics(sandbox.sandbox_id)
    raises(NotFoundException, lambda: Sandbox.get_info(sandbox.sandbox_id))


run_tests([
    sandboxes_are_paged_and_filtered,
    a_time_limit_is_set_and_connect_only_extends_it,
    metrics_come_within_half_a_minute,
    what_is_wrong_is_told_by_its_class,
    a_killed_sandbox_keeps_its_metrics,
])
