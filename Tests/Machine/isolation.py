"""Scenarios: a process that keeps a mapping beyond its lease, and another user who asks for the memory.

The same checks with Debian 12's kernel and with sid's: since Linux 7.0 the kernel no longer reports which
sysfs files are open (F_SETLEASE), and the broker must refuse where it cannot know. One device's memory is
leased through sysfs, one's through VFIO behind a strict IOMMU. The attacker is attacker.c. The cells of emulated devices
are in WitnessMatrixTests.
"""

from dataclasses import replace
from pathlib import Path

import vfio
from checks import Report
from machine import Boot, Machine, Slot
from proofs import Proof

KIB, MIB = 1 << 10, 1 << 20

MACHINE = Machine(
    name="isolation",
    limit=240,  # seconds, of which it takes 80 on a host that is not busy
    suite="bookworm",
    modules=vfio.MACHINE.modules,  # more than it takes, so that one cached kernel serves both
    programs=("genpoold", "genpoolctl", "attacker"),
    images={"sysfs.img": 1 * MIB, "vfio.img": 1 * MIB},
    backends=(
        "-object", "memory-backend-file,id=m0,share=on,mem-path=sysfs.img,size=1M",
        "-object", "memory-backend-file,id=m1,share=on,mem-path=vfio.img,size=1M"),
    slots=(
        Slot("sysfs", 4, "ivshmem-plain,memdev=m0", root_port=False),
        Slot("vfio", 5, "ivshmem-plain,memdev=m1")),
    board=("-machine", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on"),
    # The check of the timer through remapped interrupts counts on a host that is not busy.
    kernel_arguments="intel_iommu=on iommu.passthrough=0 iommu.strict=1")

# The window of each device's BAR 2 that is a pool.
OFFSET, SIZE = 256 * KIB, 64 * KIB


class Scenario:
    machine = MACHINE

    def __init__(self, directory: Path, report: Report):
        self.share = directory / "share"
        self.report = report
        self.proofs: list[Proof] = []  # none: no device does DMA

    def prepare(self) -> None:
        facts = {f"{slot.name}_slot": slot.address for slot in self.machine.slots}
        facts |= {"pool_offset": OFFSET, "pool_size": SIZE}
        (self.share / "facts").write_text(
            "".join(f"{name}='{value}'\n" for name, value in facts.items()))

    def look(self, stop: str, boot: Boot) -> None:
        raise RuntimeError(f"nothing to look at: {stop}")

    def finish(self) -> None:
        pass


class Newest(Scenario):
    machine = replace(
        MACHINE, name="isolation-newest", suite="sid",
        modules=("9p", "9pnet_virtio", "virtio_pci", "vfio_pci", "vfio_iommu_type1"))
