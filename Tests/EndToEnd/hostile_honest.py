"""Honest clients in processes of their own, whose waiting is what attacks cost others."""

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from hostile_peer import Peer


@dataclass
class Waits:
    """How long each served request took, in seconds, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        ordered = sorted(self.seconds) or [float("nan")]
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


class Honest:
    """A client that makes its request over and over between ``resume`` and ``pause``."""

    def __init__(self, path: os.PathLike, newcomer: bool, pool: str | None = None) -> None:
        context = multiprocessing.get_context("fork")
        self.control, end = context.Pipe()
        self.process = context.Process(
            target=newcomers if newcomer else tenant, daemon=True,
            args=(path, end) if newcomer else (path, end, pool))
        self.process.start()
        end.close()

    def resume(self) -> None:
        self.control.send("go")

    def pause(self) -> Waits:
        self.control.send("pause")
        return self.control.recv()

    def end(self) -> None:
        self.control.send(None)
        self.process.join()


def tenant(path: os.PathLike, control: Connection, pool: str | None = None) -> None:
    """Acquires and releases a page over one connection, of any pool or of one."""
    which = {"pool": pool} if pool else {}
    with Peer(path) as peer:
        def lease() -> None:
            lease = peer.call("Acquire", bytes=4096, **which)["lease"]
            peer.call("Release", lease=lease["lease"], generation=lease["generation"])
        repeat(lease, control)


def newcomers(path: os.PathLike, control: Connection) -> None:
    """Connects, says hello and leaves."""
    def visit() -> None:
        with Peer(path) as peer:
            peer.call("Hello", client="honest")
    repeat(visit, control)


def repeat(request, control: Connection) -> None:
    while control.recv() == "go":
        waits = Waits()
        # Once at least, so that a short attack has a figure too.
        while not control.poll() or not (waits.seconds or waits.failures):
            began = time.perf_counter()
            try:
                request()
                waits.seconds.append(time.perf_counter() - began)
            except Exception as error:  # whatever it is, an honest client was not served
                waits.failures.append(f"{type(error).__name__} {error}")
            time.sleep(0.001)
        control.recv()
        control.send(waits)
