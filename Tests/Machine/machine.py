"""A virtual machine as data, and one boot of it: serial console in, QMP beside it, always killed."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from checks import die_with_parent
from userland import Userland

QEMU = "qemu-system-x86_64"


@dataclass(frozen=True)
class Slot:
    """A fixed slot of bus 0 with a device in it or, for hot-pluggable ones, behind a root port."""

    name: str
    number: int
    device: str
    root_port: bool = True
    port_options: str = ""

    @property
    def address(self) -> str:
        return f"0000:00:{self.number:02x}.0"

    @property
    def plug(self) -> str:
        """What -device and device_add want to hear."""
        place = f"bus=port{self.number}" if self.root_port else f"addr={self.number}"
        return f"{self.device},id={self.name},{place}"

    def arguments(self) -> list[str]:
        port = (
            f"pcie-root-port,id=port{self.number},chassis={self.number},slot={self.number}"
            f",addr={self.number}{self.port_options}")
        return [*(("-device", port) if self.root_port else ()), "-device", self.plug]


@dataclass(frozen=True)
class Machine:
    """What differs from one machine to the next. File names are relative to the boot's directory."""

    name: str
    suite: str  # the Debian release its kernel comes from
    modules: tuple[str, ...]  # loaded by the guest's scripts
    slots: tuple[Slot, ...]
    images: dict[str, int]  # file: bytes
    backends: tuple[str, ...] = ()  # QEMU arguments that the devices refer to
    board: tuple[str, ...] = ("-machine", "q35")
    kernel_arguments: str = ""
    memory: str = "512M"
    programs: tuple[str, ...] = ("genpoold", "genpoolctl", "genpool-nvme", "dma-proof")
    examples: tuple[str, ...] = ()  # programs that only this scenario runs, beside those
    limit: int = 120  # seconds from QEMU's start to its end
    # Where the checks run with systemd, and the product installed. None: with busybox alone.
    userland: Userland | None = None

    def command(self, vmlinuz: Path) -> list[str]:
        # On a busy machine the timer's interrupts come too late for the kernel's check of it.
        arguments = "console=ttyS0 panic=-1 quiet no_timer_check " + self.kernel_arguments
        return [
            QEMU, *self.board, "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-smp", "1",
            "-m", self.memory, "-nodefaults", "-display", "none", "-no-reboot",
            "-serial", "stdio", "-kernel", str(vmlinuz), "-initrd", "initramfs.cpio",
            "-append", arguments, "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-virtfs", "local,path=share,mount_tag=host,security_model=none",
            *self.backends, *(part for slot in self.slots for part in slot.arguments())]


class Boot:
    """One boot in `directory`, which holds initramfs.cpio, the images, and share/."""

    def __init__(self, machine: Machine, vmlinuz: Path, directory: Path, jobs: int = 1):
        """`jobs` machines share this one's processors, and each may take so many times its limit."""
        self.directory = directory
        self.log = directory / "serial.log"
        self.deadline = time.monotonic() + machine.limit * jobs
        self.timed_out = False
        ours, theirs = socket.socketpair()
        with theirs:
            monitor = [
                "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "qmp,mode=control"]
            self.process = subprocess.Popen(
                machine.command(vmlinuz) + monitor, cwd=directory, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=(directory / "qemu.log").open("wb"),
                pass_fds=[theirs.fileno()], preexec_fn=die_with_parent)
        ours.settimeout(10)
        self.socket = ours
        self.monitor = ours.makefile("rw")
        self.greeted = False
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Boot":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.monitor.close()
        self.socket.close()

    def lines(self) -> Iterator[str]:
        """The serial console line by line, until QEMU ends or the time is up."""
        console, rest = self.process.stdout.fileno(), b""
        with self.log.open("wb") as log:
            while True:
                left = self.deadline - time.monotonic()
                if left <= 0 or not select.select([console], [], [], left)[0]:
                    self.timed_out = True
                    self.process.kill()
                    return
                data = os.read(console, 65536)
                if not data:
                    return
                log.write(data)
                log.flush()
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace").rstrip("\r")

    def exit_status(self) -> int:
        """QEMU's; 124 when the time was up, as timeout(1) has it."""
        return 124 if self.timed_out else self.process.wait()

    def qmp(self, execute: str, **arguments: Any) -> Any:
        """Asks QEMU itself."""
        if not self.greeted:
            self._answer()
            self.greeted = True
            self.qmp("qmp_capabilities")
        self.monitor.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self.monitor.flush()
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"QMP {execute}: {answer['error']['desc']}")
        return answer["return"]

    def bars(self) -> dict[tuple[str, int], dict[str, Any]]:
        """QEMU's view of the BARs, by device id and index, and `device`, the address."""
        found: dict[tuple[str, int], dict[str, Any]] = {}

        def visit(devices: list[dict[str, Any]]) -> None:
            for device in devices:
                place = f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']}"
                for region in device["regions"]:
                    found[device["qdev_id"], region["bar"]] = region | {"device": place}
                visit(device.get("pci_bridge", {}).get("devices", []))

        for bus in self.qmp("query-pci"):
            visit(bus["devices"])
        return found

    def wait_for(self, event: str, **data: Any) -> None:
        """Until QEMU has said that this happened, to whom `data` says."""
        def matches(told: dict[str, Any]) -> bool:
            return told.get("event") == event and data.items() <= told["data"].items()

        while not any(matches(told) for told in self.events):
            line = self.monitor.readline()
            if not line:
                raise RuntimeError("QEMU closed its monitor")
            self.events.append(json.loads(line))

    def _answer(self) -> dict[str, Any]:
        while line := self.monitor.readline():
            answer = json.loads(line)
            if "event" not in answer:
                return answer
            self.events.append(answer)
        raise RuntimeError("QEMU closed its monitor")


def verdict(status: int) -> str:
    """What an exit status of QEMU means: the guest writes rc + 16 to isa-debug-exit."""
    known = {
        33: "the guest passed",
        0: "the guest powered off or panicked",
        1: "QEMU itself failed",
        124: "no end within the time that its machine has",
    }
    if status in known:
        return known[status]
    if status < 0:
        return f"QEMU died of {signal.Signals(-status).name}"
    return f"the guest's script ended with {(status >> 1) - 16}"
