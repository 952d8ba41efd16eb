"""A gateway for MCP servers, which E2B's package of PyPI starts in a sandbox of the template mcp-gateway, and its token; by the
synchronous classes or the asynchronous ones (FLOTILLA_FACE: sync or async).

usage: mcp.py [TEST]...   (E2B_* in the environment, e2b installed)
"""
import json
import os
import sys

sys.path[:0] = [os.environ["FLOTILLA_TESTS_LIB"], os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")]
import httpx  # noqa: E402  (the package's own HTTP client)
from e2b import SandboxException  # noqa: E402
from faces import Sandbox, refused, wait  # noqa: E402
from fleet import run_tests  # noqa: E402

MCP = {"duckduckgo": {}, "notion": {"internalIntegrationToken": "it's \"quoted\" $HOME"}}
sandbox = None


def ask(method, params, token):
    """The result of one call of the gateway in the sandbox, as an agent's program makes it, or the status that it is refused with."""
    answer = httpx.post(os.environ["E2B_SANDBOX_URL"] + "/mcp", timeout=60, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
                        headers={"Authorization": f"Bearer {token}", "E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "50005"})
    return answer.json()["result"] if answer.is_success else answer.status_code


def a_gateway_is_started_and_has_the_servers_that_were_asked_for():
    global sandbox
    sandbox = wait(Sandbox.create(mcp=MCP, timeout=120))
    token = wait(sandbox.get_mcp_token())
    assert sandbox.get_mcp_url().startswith(f"https://50005-{sandbox.sandbox_id}.") and sandbox.get_mcp_url().endswith("/mcp")
    assert ask("initialize", {"protocolVersion": "2025-06-18"}, token)["serverInfo"]["name"] == "a test's gateway"
    assert [tool["name"] for tool in ask("tools/list", {}, token)["tools"]] == list(MCP)
    assert json.loads(ask("tools/call", {"name": "notion"}, token)["content"][0]["text"]) == MCP["notion"]
    assert ask("tools/list", {}, "wrong") == 401


def who_connects_later_finds_the_same_token():
    again = wait(Sandbox.connect(sandbox.sandbox_id))
    assert wait(again.get_mcp_token()) == wait(sandbox.get_mcp_token())


def a_gateway_that_does_not_start_takes_its_sandbox_along():
    for words, why in (({"mcp": {"notion": "no object"}}, "mcp-gateway: each server wants an object"), ({"template": "base", "mcp": MCP}, "")):
        error = refused(Exception, Sandbox.create, timeout=60, **words)
        assert type(error) is SandboxException and f"Failed to start MCP gateway: {why}" in str(error), repr(error)
        assert [one.sandbox_id for one in wait(Sandbox.list().next_items())] == [sandbox.sandbox_id]


def a_sandbox_is_killed():
    assert wait(sandbox.kill()) is True


run_tests([
    a_gateway_is_started_and_has_the_servers_that_were_asked_for,
    who_connects_later_finds_the_same_token,
    a_gateway_that_does_not_start_takes_its_sandbox_along,
    a_sandbox_is_killed,
])
