"""Peers that say nothing wrong, but too much, too slowly, or without listening."""

import array
import multiprocessing
import os
import random
import socket
import time
from collections import Counter
from contextlib import ExitStack

from hostile_calls import expect
from hostile_peer import INTERFACE, METHODS, NOBODY, SERVICE, Peer, frame, required

CONNECTION_QUOTA = 256  # Quotas.Limits.standard
LASTS = 0.5  # seconds that a flood goes on
HELLO = frame(f"{INTERFACE}.Hello")
DESCRIBE = frame(f"{SERVICE}.GetInterfaceDescription", {"interface": INTERFACE})


def connections(report, broker) -> None:
    """10,000 at a time, from processes of one other user, whose part of all is a quarter."""
    if os.geteuid() != 0:
        print("connections skipped: only root can be another user")
        return
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(10)]
    crowd = [context.Process(target=hold, args=(broker.socket, 1000, end), daemon=True)
             for _, end in pipes]
    for process in crowd:
        process.start()
    for control, _ in pipes:
        control.recv()
    # All are open now, on their side. None was told before it was connected.
    for control, _ in pipes:
        control.send("look")
    heard = Counter()
    for control, _ in pipes:
        heard += control.recv()
    report.equal("10,000 connections at a time of one user, of which 256 are kept",
                 dict(heard), {"open": CONNECTION_QUOTA, "QuotaExceeded": 10_000 - CONNECTION_QUOTA})
    for control, _ in pipes:
        control.send("end")
    for process in crowd:
        process.join()


def hold(path, count, control) -> None:
    """Connects so many times as nobody, then tells what each connection has heard."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    peers = [Peer(path) for _ in range(count)]
    control.send("connected")
    control.recv()
    heard = Counter()
    for peer in peers:
        peer.socket.settimeout(0.001)
        try:
            reply = peer.receive()
            heard["closed" if reply is None else reply["error"].rpartition(".")[2]] += 1
        except TimeoutError:
            heard["open"] += 1
    control.send(heard)
    control.recv()


def reconnections(report, broker) -> None:
    """Connects and leaves, as fast as it goes, with and without a word."""
    count, end = 0, time.monotonic() + LASTS
    while time.monotonic() < end:
        with Peer(broker.socket) as peer:
            if count % 2:
                peer.send(HELLO)
        count += 1
    report.check(f"{count} connections that leave at once", True)


def fill(peer: Peer, data: bytes, sent: int = 0) -> int:
    """Sends as much as goes without waiting; how much that was, from the beginning on."""
    peer.socket.setblocking(False)
    try:
        while True:
            sent += peer.socket.send(data[sent % len(data):])
    except BlockingIOError:
        return sent
    except (BrokenPipeError, ConnectionResetError):
        return sent


def never_reads(report, broker) -> None:
    """Asks for as much as the daemon lets it, and reads nothing."""
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(broker.socket)) for _ in range(100)]
        before, end = broker.resident(), time.monotonic() + LASTS
        sent = [0] * len(peers)
        while time.monotonic() < end:
            sent = [fill(peer, DESCRIBE * 100, past) for peer, past in zip(peers, sent)]
        grown = broker.resident() - before
        # 256 KiB of answers and the last one, 64 KiB of calls and what was received at once.
        report.check(f"100 that never read cost {grown} KiB ({sum(sent) >> 10} KiB of calls)",
                     grown < 100 * 512)


def slow(report, broker) -> None:
    """A byte at a time over many connections: each is answered in the end."""
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(broker.socket)) for _ in range(300)]
        for at in range(len(HELLO)):
            for peer in peers:
                peer.send(HELLO[at:at + 1])
        replies = [peer.receive() for peer in peers]
    expect(report, "300 that send a byte at a time are answered",
           [reply for reply in replies if not reply or "error" in reply])


def descriptors(report, broker) -> None:
    """Descriptors come with calls: pipes, so that it shows who still has an end, and the socket."""
    reader, writer = os.pipe()
    with Peer(broker.socket) as peer:
        for count in (1, 2, 100, 253):
            for _ in range(20):
                numbers = array.array("i", [writer] * (count - 1) + [peer.socket.fileno()])
                peer.socket.sendmsg([HELLO], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
                if peer.receive() is None:
                    report.check("a call with descriptors is answered", False)
        # Also with a call that is never finished, and one after the other in the same.
        numbers = array.array("i", [writer] * 253)
        for byte in HELLO[:20]:
            peer.socket.sendmsg([bytes([byte])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
        os.close(writer)
        os.set_blocking(reader, False)
        end, left = time.monotonic() + 5, None
        while left != b"" and time.monotonic() < end:
            try:
                left = os.read(reader, 1)
            except BlockingIOError:
                time.sleep(0.01)
        report.check("descriptors sent along are closed at once", left == b"")
    os.close(reader)


def half_closed(report, broker) -> None:
    """One direction closed, or both, at every place of a conversation."""
    wrong = []
    for method in METHODS:
        if method.endswith("Acquire"):
            continue
        data = frame(method, required(method))
        with Peer(broker.socket) as peer:
            peer.send(data * 3)
            peer.socket.shutdown(socket.SHUT_WR)
            replies = [peer.receive() for _ in range(4)]
            if None in replies[:3] or replies[3] is not None:
                wrong.append((method, replies))
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            with Peer(broker.socket) as peer:
                peer.send(data)
                peer.socket.shutdown(how)
                peer.send(data)
    expect(report, "who sends no more hears all answers, then the end", wrong)


def vanishing(report, broker) -> None:
    """A full pipe of costly questions, and gone: nobody is left to answer."""
    calls = frame(f"{INTERFACE}.ListDevices") * 1000
    for _ in range(20):
        with Peer(broker.socket) as peer:
            sent = fill(peer, calls)
    report.check(f"20 that ask {sent >> 10} KiB of questions and leave", True)


def monitors(report, broker) -> None:
    """Listeners that ask on, though a monitor is not answered, and leave."""
    for rest in (b"", frame(f"{INTERFACE}.ListPools") * 1000):
        with ExitStack() as stack:
            peers = [stack.enter_context(Peer(broker.socket)) for _ in range(20)]
            events = [peer.ask(frame(f"{INTERFACE}.Monitor", more=True)) for peer in peers]
            for peer in peers:
                fill(peer, rest or b" ")
    expect(report, "40 monitors that leave", [event for event in events if not event])


def oneway(report, broker) -> None:
    """Questions whose answer nobody wants, about many leases and a pool in pieces."""
    with Peer(broker.socket) as peer:
        leases = [peer.call("Acquire", bytes=4096)["lease"] for _ in range(1024)]
        for lease in leases[::2]:
            peer.call("Release", lease=lease["lease"], generation=lease["generation"])
        with Peer(broker.socket) as rude:
            calls = frame(f"{INTERFACE}.ListLeases", oneway=True)
            calls += frame(f"{INTERFACE}.DescribePool", {"pool": broker.pool}, oneway=True)
            end, sent = time.monotonic() + LASTS, 0
            while time.monotonic() < end:
                sent = fill(rude, calls * 500, sent)
        for lease in leases[1::2]:
            peer.call("Release", lease=lease["lease"], generation=lease["generation"])
    report.check(f"{sent >> 10} KiB of calls without a reply", sent > 0)


def noise(report, broker) -> None:
    """Random bytes, endless."""
    chance, end, count = random.Random(5), time.monotonic() + LASTS, 0
    while time.monotonic() < end:
        with Peer(broker.socket) as peer:
            for _ in range(4):
                if not peer.send(chance.randbytes(32 * 1024)):
                    break
        count += 1
    report.check(f"{count} that send random bytes", True)


ATTACKS = (connections, reconnections, never_reads, slow, descriptors, half_closed, vanishing,
           monitors, oneway, noise)
