"""Results of a script's checks, one line each, counted; and commands that end in time.

A script of the tests finds this by `sys.path.append(…/Tests/Support)`. Its last line is what
`Report.close` prints, which .ci/run adds up.
"""

import ctypes
import os
import re
import signal
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = 60  # seconds that a command may take, if nothing else is said


class Report:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, sentence: str, holds: object, detail: object = "") -> bool:
        """Prints and counts one result; `detail` is what was found instead."""
        if holds:
            self.passed += 1
            print(f"  ok    {sentence}", flush=True)
        else:
            self.failed += 1
            print(f"  FAIL  {sentence}" + (f": {detail}" if detail != "" else ""), flush=True)
        return bool(holds)

    def equal(self, sentence: str, got: object, expected: object) -> bool:
        return self.check(sentence, got == expected, f"got {got}, expected {expected}")

    def same_bytes(self, sentence: str, got: bytes, expected: bytes, start: int = 0) -> bool:
        """`start` is where the first byte lies, so that a difference can be found again."""
        if got == expected:
            return self.check(sentence, True)
        if len(got) != len(expected):
            return self.check(sentence, False, f"{len(got)} bytes, expected {len(expected)}")
        at = next(i for i, (a, b) in enumerate(zip(got, expected)) if a != b)
        return self.check(
            sentence, False,
            f"differs at {start + at:#x}: {got[at:at + 8].hex()}, expected {expected[at:at + 8].hex()}")

    def succeeds(self, sentence: str, done: subprocess.CompletedProcess) -> bool:
        """Exit status 0; else the command's output is the detail."""
        return self.check(sentence, done.returncode == 0, f"status {done.returncode}: {done.stdout}")

    def counted(self, sentence: str, done: subprocess.CompletedProcess) -> None:
        """For a program that counts its checks as `close` does: they count here as well."""
        count = re.search(r"^(\d+) passed, 0 failed$", done.stdout, re.MULTILINE)
        self.check(
            f"{sentence} ({count[1] if count else 'no'} checks)", count and done.returncode == 0, done.stdout)
        self.passed += int(count[1]) if count else 0

    def close(self) -> int:
        """Prints the closing line and returns the script's exit status: 1 as well if nothing was checked."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def run(
    *command: "str | Path", limit: float = LIMIT, **environment: "str | Path"
) -> subprocess.CompletedProcess:
    """Runs a command in the repository to its end; its output has its errors in it.

    After `limit` seconds it is killed with all that it started: status 124, as timeout(1) has it.
    """
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=die_with_parent)
    try:
        output, _ = process.communicate(timeout=limit)
        status = process.returncode
    except subprocess.TimeoutExpired:
        kill_group(process)
        try:
            output, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:  # a process that left the session holds the pipe
            output = ""
        status, output = 124, f"{output}no end within {limit:.0f} s"
    except BaseException:
        kill_group(process)
        raise
    return subprocess.CompletedProcess(command, status, output)


def kill_group(process: subprocess.Popen) -> None:
    """Kills a process that leads a session of its own, and what it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def die_with_parent() -> None:
    """For a child before it executes a program: prctl(PR_SET_PDEATHSIG, SIGKILL), so that not even a
    killed script leaves a process behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
