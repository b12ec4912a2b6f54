"""Scenario: the product installed on a Debian with systemd and udevd, and devices that come and go.

The guest does what an administrator and two users would. The host pulls devices out and plugs them in
when the guest asks for it.
"""

import os
import time
from pathlib import Path

import vfio
from checks import Report
from machine import Boot, Machine, Slot
from proofs import Proof
from userland import Userland

MIB = 1 << 20
MEMORY = "memory-backend-file,share=on,mem-path=ivs.img,size=16M"

MACHINE = Machine(
    name="systemd",
    suite="bookworm",
    modules=vfio.MACHINE.modules,  # one kernel in the cache for both
    images={"nv0.img": 16 * MIB, "ivs.img": 16 * MIB},
    # Not -drive: that would go with the device, and a second plugging in find none.
    backends=(
        "-blockdev", "driver=file,node-name=d0,filename=nv0.img",
        "-object", f"{MEMORY},id=m0"),
    slots=(
        Slot("nv0", 4, "nvme,serial=cmb0,drive=d0,cmb_size_mb=16"),
        Slot("ivs", 5, "ivshmem-plain,memdev=m0"),
        Slot("testdev", 6, "pci-testdev,membar=8M", root_port=False)),
    board=vfio.MACHINE.board,
    kernel_arguments=f"{vfio.MACHINE.kernel_arguments} systemd.show_status=0",
    memory="768M",
    limit=200,  # 50 s where nothing else runs
    # systemd 257: has udevadm verify and varlinkctl.
    userland=Userland("trixie", ("systemd", "udev", "kmod", "libseccomp2", "libpci3", "libstdc++6")))
SLOTS = {slot.name: slot for slot in MACHINE.slots}


class Scenario:
    machine = MACHINE

    def __init__(self, directory: Path, report: Report):
        self.directory = directory
        self.share = directory / "share"
        self.report = report
        self.proofs: list[Proof] = []  # none by DMA
        self.kernel = ""

    def prepare(self) -> None:
        facts = {f"{slot.name}_slot": slot.address for slot in MACHINE.slots}
        (self.share / "facts").write_text(
            "".join(f"{name}='{value}'\n" for name, value in facts.items()))
        (self.share / "pattern").write_bytes(os.urandom(65536))

    def look(self, stop: str, boot: Boot) -> None:
        """`stop` is what to do, with which device, and the how-manieth time."""
        verb, device, cycle = stop.split("-")
        if verb == "unplug":
            boot.qmp("device_del", id=device)
        else:
            plug_in(SLOTS[device], f"m{cycle}", boot)

    def finish(self) -> None:
        content = (self.directory / "ivs.img").read_bytes()
        self.report.check(
            "what outlived ivs has written nothing to it", b"\x6b" * 4096 not in content)


def plug_in(slot: Slot, memory: str, boot: Boot) -> None:
    def tell(line: str) -> str:
        return boot.qmp("human-monitor-command", **{"command-line": line})

    # QEMU 7.2 aborts when memory that was ivshmem's becomes ivshmem's again: a new object for it.
    tell(f"object_add {MEMORY},id={memory}")
    line = f"device_add {slot.plug.replace('memdev=m0', f'memdev={memory}')}"
    # It lets go of the old device a moment after the guest has.
    deadline = time.monotonic() + 10
    while problem := tell(line):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{line}: {problem}")
        time.sleep(0.05)
