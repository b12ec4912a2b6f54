"""Calls a function for several names at a time, each in a process of its own."""

import multiprocessing
import multiprocessing.connection
import os
from typing import Any, Callable, Iterator

from checks import die_with_parent


class Parallel:
    """At most `jobs` calls run at once. A context manager: calls that still run at its end are terminated.

    Processes rather than threads, because a machine (Tests/Machine/machine.py) is killed when the thread
    that started it ends, and because each has its own standard output to redirect.
    """

    def __init__(self, jobs: int, function: Callable[[str], Any]) -> None:
        self.jobs = jobs
        self.function = function
        self.running: dict[Any, tuple[str, multiprocessing.Process]] = {}

    def __enter__(self) -> "Parallel":
        return self

    def __exit__(self, *_: object) -> None:
        for _, process in self.running.values():
            process.terminate()  # its own handler removes what it made
        for _, process in self.running.values():
            process.join(10)
            process.kill()
            process.join()

    def outcomes(self, names: list[str]) -> Iterator[tuple[str, Any]]:
        """Each name with the function's result, in the order in which the calls end."""
        waiting = list(names)
        while waiting or self.running:
            while waiting and len(self.running) < self.jobs:
                self._start(waiting.pop(0))
            for results in multiprocessing.connection.wait(list(self.running)):
                name, process = self.running.pop(results)
                try:
                    outcome = results.recv()
                except EOFError:
                    process.join()
                    raise RuntimeError(f"{name}: no result, exit status {process.exitcode}") from None
                process.join()
                yield name, outcome

    def _start(self, name: str) -> None:
        context = multiprocessing.get_context("fork")
        results, theirs = context.Pipe(duplex=False)
        parent = os.getpid()

        def call() -> None:
            die_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            theirs.send(self.function(name))

        process = context.Process(target=call)
        process.start()
        theirs.close()
        self.running[results] = name, process
