#!/usr/bin/env python3
"""Rude clients against genpoold on an emulated device, and what they cost the polite ones.

    Tests/EndToEnd/hostile.py .build/release

One line a check, then a table, then "N passed, N failed". What the daemon still has afterwards shows
in descriptors after each attack. Its memory has a high-water mark, which a busy machine reaches late:
all attacks are made twice, and a third time if the second round left more than the first.
"""

import os
import resource
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is written into the tree
sys.path.append(str(Path(__file__).resolve().parent.parent / "Support"))

import hostile_calls
import hostile_floods
from checks import Report
from emulated import EmulatedBroker
from hostile_honest import Honest, Waits
from hostile_peer import Peer

ATTACKS = hostile_calls.ATTACKS + hostile_floods.ATTACKS
ROUNDS = 6
PATIENCE = 0.25  # seconds that 99 of 100 honest requests may take, on however busy a machine
GROWTH_LIMIT = 1024  # KiB that the last round may add: pages that the allocator had not yet touched


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} BINDIR", file=sys.stderr)
        return 64
    # As many connections at a time as this user may have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    report = Report()
    began = time.monotonic()
    with EmulatedBroker(Path(sys.argv[1]).resolve()) as broker:
        attack(report, broker)
        report.equal("the daemon ends cleanly", broker.stop(), 0)
        report.check("and removes its sockets",
                     not broker.socket.exists() and not broker.admin_socket.exists())
    status = report.close()
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return status


def attack(report: Report, broker: EmulatedBroker) -> None:
    if os.geteuid() == 0:
        # For attacks of other users.
        broker.directory.chmod(0o711)
        broker.socket.chmod(0o666)
    tenant, newcomer = Honest(broker.socket, False), Honest(broker.socket, True)
    table = []

    def measured(name: str, action) -> None:
        for client in (tenant, newcomer):
            client.resume()
        used = broker.processor_time()
        action()
        waits = tenant.pause(), newcomer.pause()
        failures = waits[0].failures + waits[1].failures
        report.check(f"{name}: honest clients are served", not failures,
                     f"{len(failures)} failed, first: {failures[:1]}")
        worst = max(one.percentile(99) for one in waits)
        report.check(f"{name}: honest clients do not wait long", worst < PATIENCE, f"{worst:.3f} s")
        table.append((name, *waits, broker.processor_time() - used))

    measured("nobody", lambda: time.sleep(0.5))
    with Peer(broker.socket) as peer:
        # Who once had a lease is watched to its end: this process is from now on.
        lease = peer.call("Acquire", bytes=4096)["lease"]
        peer.call("Release", lease=lease["lease"], generation=lease["generation"])
    time.sleep(0.1)
    idle = broker.descriptors()
    memory = [broker.resident()]
    while len(memory) <= ROUNDS:
        for action in ATTACKS:
            name = action.__name__.replace("_", " ")
            measured(name, lambda: action(report, broker))
            report.equal(f"{name}: no descriptor is left", settled(broker, idle), idle)
            if broker.process.poll() is not None:
                report.check("the daemon lives", False, broker.log.read_text()[-2000:])
                return
        memory.append(broker.resident())
        if len(memory) > 2 and memory[-1] - memory[-2] < GROWTH_LIMIT:
            break
    report.check(f"memory stops growing: {' > '.join(map(str, memory))} KiB after each round",
                 memory[-1] - memory[-2] < GROWTH_LIMIT)
    with Peer(broker.socket) as peer:
        pool = peer.call("ListPools")["pools"][0]
        report.equal("all the pool's memory is free again", settled_pool(peer), pool["size"])
    for client in (tenant, newcomer):
        client.end()
    show(table)


def settled(broker: EmulatedBroker, wanted: int) -> int:
    """The daemon's descriptors once they are as many as wanted, or stay others."""
    for _ in range(500):
        if broker.descriptors() == wanted:
            return wanted
        time.sleep(0.01)
    return broker.descriptors()


def settled_pool(peer: Peer) -> int:
    """The bytes that are free once nothing is being scrubbed."""
    for _ in range(500):
        pool = peer.call("ListPools")["pools"][0]
        if not pool["dirty"]:
            break
        time.sleep(0.01)
    return pool["available"]


def show(table: list[tuple[str, Waits, Waits, float]]) -> None:
    print("\nin microseconds:  Acquire + Release                 connect + Hello            the daemon's")
    print("during            calls      p50      p99      max   visits      p50      p99   CPU seconds")
    for name, tenant, newcomer, used in table:
        print(f"{name:<16} {len(tenant.seconds):>6} {micro(tenant, 50)} {micro(tenant, 99)}"
              f" {micro(tenant, 100)}   {len(newcomer.seconds):>6} {micro(newcomer, 50)}"
              f" {micro(newcomer, 99)}   {used:>11.2f}")
    print()


def micro(waits: Waits, percent: int) -> str:
    return f"{waits.percentile(percent) * 1e6:>8.0f}"


if __name__ == "__main__":
    sys.exit(main())
