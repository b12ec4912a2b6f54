#!/usr/bin/env python3
"""What one client can do to the daemon at most, with 60,000 leases in its table.

    bounded.py BINDIR [--leases N]

Another user does its worst, one thing after the other, while honest clients lease and connect. Asked
are: the longest time between two heartbeats, the daemon's memory, and what honest clients wait. The
checks are ten times slacker than the figures that are wanted: they catch work that grows with what a
client has, not a slow machine.
"""

import argparse
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent / "Support"))

from checks import Report
from emulated import MIB, EmulatedBroker
from hostile_floods import fill
from hostile_honest import Honest
from hostile_peer import INTERFACE, NOBODY, Peer, frame

HEARTBEAT_GAP = 1.0  # seconds that are wanted
MEMORY = 100 * 1024  # KiB
HONEST_WAIT = 0.050  # seconds, of 99 in 100 calls
SLACK = 10
LASTS = 2.0  # seconds that an attack goes on


class Heartbeats:
    """The service manager's end: the moments at which the daemon said that it lives."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.fspath(path))
        self.times = [time.monotonic()]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            if b"WATCHDOG=1" in self.socket.recv(4096):
                self.times.append(time.monotonic())

    def longest_gap(self, began: float) -> float:
        """Between two heartbeats since a moment, or since the last one before it."""
        times = [one for one in self.times if one >= began - 0.2] + [time.monotonic()]
        return max(after - before for before, after in zip(times, times[1:]))


def as_nobody(body, *arguments) -> multiprocessing.Process:
    """Starts a process of another user."""
    def run() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        body(*arguments)

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    return process


def hoard(path: Path, count: int, done) -> None:
    """Takes so many leases and keeps them until it is killed."""
    call = frame(f"{INTERFACE}.Acquire", {"pool": "large", "bytes": 4096})
    with Peer(path, timeout=60) as peer:
        taken = 0
        for _ in range(count):
            reply = peer.ask(call)
            if not reply or "error" in reply:
                break
            taken += 1
        done.send(taken)
        while True:
            time.sleep(1)


def attack(body, path: Path) -> None:
    """Runs an attack as another user until its time is up, and ends its connections."""
    process = as_nobody(body, path)
    process.join(timeout=60)
    process.kill()
    process.join()


def lists_unread(path: Path) -> None:
    """160 connections ask for all leases, page by page and over and over, and read nothing."""
    calls = frame(f"{INTERFACE}.ListLeases", more=True) + frame(f"{INTERFACE}.ListLeases")
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(path)) for _ in range(160)]
        sent = [0] * len(peers)
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            sent = [fill(peer, calls * 20, past) for peer, past in zip(peers, sent)]


def lists_read(path: Path) -> None:
    """20 connections ask for all leases over and over, and read."""
    call = frame(f"{INTERFACE}.ListLeases", more=True)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(path)) for _ in range(20)]
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            for peer in peers:
                peer.send(call)
            for peer in peers:
                while (peer.receive() or {}).get("continues"):
                    pass


def connect_flood(path: Path) -> None:
    """Connects and leaves as fast as it goes, with and without a word."""
    end, count = time.monotonic() + LASTS, 0
    hello = frame(f"{INTERFACE}.Hello")
    while time.monotonic() < end:
        with Peer(path) as peer:
            if count % 2:
                peer.send(hello)
        count += 1


def waiters(path: Path) -> None:
    """1,000 wait for memory that does not come, while one of them takes and gives back."""
    wait = frame(f"{INTERFACE}.Acquire", {"pool": "large", "bytes": 250 * MIB, "wait": 60_000})
    with ExitStack() as stack:
        for _ in range(900):
            stack.enter_context(Peer(path)).send(wait)
        peer = stack.enter_context(Peer(path))
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            peer.call("Hello")


def devices(path: Path) -> None:
    """250 ask for the machine's 500 devices, which are in one IOMMU group, and do not read."""
    call = frame(f"{INTERFACE}.ListDevices", more=True)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(path)) for _ in range(250)]
        end = time.monotonic() + LASTS
        for peer in peers:
            fill(peer, call * 4)
        while time.monotonic() < end:
            time.sleep(0.1)


def acquires_unread(path: Path) -> None:
    """100 connections with 400 pipelined Acquires each, whose descriptors they do not take."""
    call = frame(f"{INTERFACE}.Acquire", {"pool": "large", "bytes": 4096})
    with ExitStack() as stack:
        for _ in range(100):
            fill(stack.enter_context(Peer(path)), call * 400)
        time.sleep(LASTS)


def churn(path: Path) -> None:
    """Takes and gives back over 8 connections as fast as it goes: lines of the log, and scrubs."""
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(path)) for _ in range(8)]
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            for peer in peers:
                lease = peer.call("Acquire", pool="large", bytes=4096)["lease"]
                peer.call("Release", lease=lease["lease"], generation=lease["generation"])


ATTACKS = [lists_unread, lists_read, connect_flood, waiters, devices, acquires_unread, churn]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bindir", type=Path)
    parser.add_argument("--leases", type=int, default=60_000)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bounded skipped: only root can be another user")
        return 0
    report = Report()
    configuration = {
        "quotas": {"users": {str(NOBODY): {"leases": "unlimited", "connections": "unlimited"}}}}
    crowd = [f"memory,size=1M,group=7,address=0001:{1 + one // 32:02x}:{one % 32:02x}.0"
             for one in range(500)]
    with EmulatedBroker(
            options.bindir.resolve(), configuration=configuration,
            devices=["ivshmem,size=512M", "ivshmem,size=16M", *crowd],
            attach=["0000:01:00.0:2,name=large", "0000:02:00.0:2,name=honest"],
            heartbeats=Heartbeats) as broker:
        broker.directory.chmod(0o711)
        broker.socket.chmod(0o666)
        run(report, broker, options.leases)
        report.equal("the daemon ends cleanly", broker.stop(), 0)
    return report.close()


def run(report: Report, broker: EmulatedBroker, count: int) -> None:
    control, done = multiprocessing.Pipe()
    hoarder = as_nobody(hoard, broker.socket, count, done)
    clients = Honest(broker.socket, False, pool="honest"), Honest(broker.socket, True)
    table = []

    def measured(name: str, action) -> None:
        for client in clients:
            client.resume()
        began = time.monotonic()
        action()
        waits = [client.pause() for client in clients]
        failures = [failure for one in waits for failure in one.failures]
        gap, memory = broker.heartbeats.longest_gap(began), broker.resident()
        worst = max(one.percentile(99) for one in waits)
        report.check(f"{name}: honest clients are served", not failures,
                     f"{len(failures)} failed, first: {failures[:1]}")
        report.check(f"{name}: the heart beats", gap < SLACK * HEARTBEAT_GAP, f"{gap:.2f} s")
        report.check(f"{name}: memory is bounded", memory < MEMORY, f"{memory} KiB")
        report.check(f"{name}: honest clients do not wait long", worst < SLACK * HONEST_WAIT,
                     f"{worst:.3f} s")
        table.append((name, gap, memory, waits))

    measured("hoarding", lambda: report.equal(
        f"{count} leases are taken", control.recv(), count))
    for body in ATTACKS:
        measured(body.__name__.replace("_", " "), lambda: attack(body, broker.socket))
        if broker.process.poll() is not None:
            report.check("the daemon lives", False, broker.log.read_text()[-2000:])
            return

    def reload_storm() -> None:
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            os.kill(broker.process.pid, signal.SIGHUP)
            time.sleep(0.0005)

    measured("reload storm", reload_storm)

    def bury() -> None:
        hoarder.kill()
        hoarder.join()
        with Peer(broker.admin_socket) as peer:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                pools = {one["name"]: one for one in peer.call("ListPools")["pools"]}
                if pools["large"]["available"] == pools["large"]["size"]:
                    break
                time.sleep(0.05)
        report.equal("all memory of a process that died is free again",
                     pools["large"]["available"], pools["large"]["size"])

    measured(f"death with {count}", bury)
    for client in clients:
        client.end()
    print("\n                         heartbeat   memory   Acquire + Release, ms      connect + Hello, ms")
    print("during                    gap, ms      KiB     p50     p99     max     p50     p99     max")
    for name, gap, memory, waits in table:
        figures = "".join(
            f" {one.percentile(percent) * 1000:7.2f}" for one in waits for percent in (50, 99, 100))
        print(f"{name:<24} {gap * 1000:8.0f} {memory:8} {figures}")


if __name__ == "__main__":
    sys.exit(main())
