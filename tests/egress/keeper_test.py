#!/usr/bin/env python3
"""
What a sandbox's keeper of its network lets through, by the real program between a sandbox that is played by
hand (sandbox.py) and a world in namespaces.

usage: keeper_test.py FLOTILLA-EGRESS
"""
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from sandbox import ALL, run
from internet import DNS, HOST, World

PROGRAM = sys.argv[1]


# ---- promises ----

def nothing_passes_before_there_are_rules(world, make):
    sandbox = make()
    sandbox.allow(deny=[ALL])
    assert sandbox.asks("203.0.113.10") is None
    assert sandbox.looks_up("good.example") == 5, "a question carries data out"
    assert sandbox.looks_up("secret.good.example", at="203.0.113.53") == 5
    assert world.asked == [], world.asked


def all_but_closed_networks_is_reached(world, make):
    sandbox = make()
    assert sandbox.asks("203.0.113.10") == "203.0.113.10:8080 got 5"
    assert sandbox.looks_up("good.example") == ["203.0.113.10"]
    assert sandbox.looks_up("GOOD.example", at="203.0.113.53") == ["203.0.113.10"], "a server of its own choice"
    assert sandbox.looks_up("good.example", kind=28) == [], "there is no way by IPv6"
    assert sandbox.looks_up("nobody.example") == 3
    assert sandbox.sends_datagram("203.0.113.10", 7777, b"abc") == b"cba"
    for address in ("10.9.9.9", "127.0.0.1", "169.254.169.254", "169.254.0.22", "192.168.0.1", HOST):
        assert sandbox.asks(address, 80) is None, address
    assert sandbox.sends_datagram("10.9.9.9", 53, b"x", 0.3) is None


def an_operator_opens_networks(world, make):
    sandbox = make(f"dns={DNS};open=10.9.0.0/16,{HOST}/32")
    assert sandbox.asks("10.9.9.9") == "10.9.9.9:8080 got 5"
    assert sandbox.asks(HOST, 80) == f"{HOST}:80 got 5"
    sandbox.allow(deny=["10.0.0.0/8"])
    assert sandbox.asks("10.9.9.9") is None, "the tenant denies it still"


def addresses_are_allowed_and_denied(world, make):
    sandbox = make(deny=["203.0.113.10/31"], allow=["203.0.113.11"])
    assert sandbox.asks("203.0.113.10") is None
    assert sandbox.asks("203.0.113.11") == "203.0.113.11:8080 got 5", "allowed is more than denied"
    assert sandbox.sends_datagram("203.0.113.10", 7777, b"abc", 0.3) is None


def names_are_allowed(world, make):
    sandbox = make(deny=[ALL], names=["*.good.example", "private.example"])
    assert sandbox.gets("203.0.113.10", "www.good.example") .startswith("203.0.113.10:80 ")
    assert sandbox.greets("203.0.113.10", "www.good.example").startswith("203.0.113.10:443 got ")
    assert sandbox.gets("203.0.113.10", "other.example") is None
    assert sandbox.greets("203.0.113.10", "other.example") is None
    assert sandbox.gets("203.0.113.10", "good.example") is None, "it is not below itself"
    assert sandbox.asks("203.0.113.10", 8080, b"\x00\x01 neither TLS nor HTTP") is None
    assert sandbox.gets("203.0.113.11", "www.good.example").startswith("203.0.113.10:80 "), "the name's own address"
    assert sandbox.gets("203.0.113.10", "private.example") is None, "a name opens no closed network"
    assert sandbox.looks_up("www.good.example") == ["203.0.113.10"]
    assert sandbox.looks_up("other.example") == 5
    asked = len(world.asked)
    assert sandbox.looks_up("data.evil.example", at="203.0.113.53") == 5 and len(world.asked) == asked


def a_greeting_in_pieces_is_waited_for(world, make):
    sandbox = make(deny=[ALL], names=["good.example"])
    with sandbox.connect("203.0.113.11", 80) as connection:
        for piece in (b"GET / HT", b"TP/1.1\r\nHo", b"st: good.example:80\r\n", b"\r\n"):
            connection.sendall(piece)
            time.sleep(0.05)
        assert b"203.0.113.10:80" in connection.recv(4096)
    assert sandbox.asks("203.0.113.10", 80, b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: x\r\n\r\n") is None
    assert sandbox.asks("203.0.113.10", 80, b"GET http://x/ HTTP/1.1\r\nHost: good.example\r\n\r\n") is None


def rules_change_under_what_is_open(world, make):
    sandbox = make()
    connection, other = sandbox.connect("203.0.113.10"), sandbox.connect("203.0.113.11")
    for each in (connection, other):
        each.sendall(b"1")
        assert each.recv(100)
    sandbox.allow(deny=["203.0.113.10"])
    try:
        assert connection.recv(100) == b"", "reset or ended"
    except ConnectionError:
        pass
    other.sendall(b"2")
    assert other.recv(100) == b"2", "what is still allowed goes on"
    assert sandbox.asks("203.0.113.10") is None
    sandbox.allow()
    assert sandbox.asks("203.0.113.10")
    assert sandbox.send(b"\x81\x01\x01") != b"", "what is no rules changes nothing"
    assert sandbox.asks("203.0.113.10")
    other.close()
    connection.close()


def much_goes_both_ways_and_ends_by_halves(world, make):
    sandbox = make()
    sent = os.urandom(1 << 20) * 8
    got = bytearray()
    with sandbox.connect("203.0.113.10") as connection:
        connection.sendall(b"first")
        assert connection.recv(100) == b"203.0.113.10:8080 got 5\n"

        def send():
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while piece := connection.recv(1 << 16):
            got += piece
        sender.join()
    assert bytes(got) == sent, (len(got), len(sent))


def connections_are_counted(world, make):
    sandbox = make(f"dns={DNS};connections=20")
    held = [sandbox.connect("203.0.113.10") for _ in range(20)]
    for each in held:
        each.sendall(b"x")
        assert each.recv(100)
    assert sandbox.asks("203.0.113.10") is None
    held.pop().close()
    deadline = time.monotonic() + 10
    while sandbox.asks("203.0.113.10") is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for each in held:
        each.close()


def sandboxes_do_not_reach_each_other(world, make):
    one, other = make(), make()
    server = other.inside.run(lambda: socket.create_server(("169.254.0.21", 8080)))
    server.settimeout(0.3)
    assert one.asks("169.254.0.21") is None
    assert one.asks("169.254.0.22") is None
    server.close()


def a_keeper_has_no_rights_left(world, make):
    sandbox = make()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{sandbox.process.pid}/status").read_text().splitlines()
                  if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1", status
    assert status["Uid"].split() == ["65534"] * 4, status["Uid"]


def a_setting_that_is_none_is_refused(world, make):
    for settings in ("dns=name", "open=10.0.0.0/33", "connections=0", "connections=2501", "x=1", "dns"):
        told = subprocess.run([PROGRAM, settings], capture_output=True, text=True)
        assert told.returncode == 1 and settings.split(";")[0].split("=")[0] in told.stderr, told


def where_all_is_denied_the_mute_ask_nothing(world, make):
    sandbox = make(deny=[ALL], names=["good.example"], mute=True)
    assert sandbox.looks_up("good.example") == 5 and sandbox.looks_up("good.example", at="203.0.113.53") == 5
    assert world.asked == [], world.asked
    assert sandbox.gets("203.0.113.11", "good.example").startswith("203.0.113.10:80 "), "the keeper itself looks it up"
    assert sandbox.gets("203.0.113.11", "other.example") is None and world.asked == ["good.example"], world.asked
    sandbox.allow(deny=["203.0.113.11"], mute=True)
    assert sandbox.looks_up("other.example") == ["203.0.113.11"], "not all is denied"


def main():
    world = World()
    failed = run((nothing_passes_before_there_are_rules, all_but_closed_networks_is_reached,
                  an_operator_opens_networks, addresses_are_allowed_and_denied, names_are_allowed,
                  a_greeting_in_pieces_is_waited_for, rules_change_under_what_is_open,
                  much_goes_both_ways_and_ends_by_halves, connections_are_counted, sandboxes_do_not_reach_each_other,
                  a_keeper_has_no_rights_left, a_setting_that_is_none_is_refused,
                  where_all_is_denied_the_mute_ask_nothing),
                 PROGRAM, world, world.asked.clear)
    world.close()
    os._exit(failed)


main()
