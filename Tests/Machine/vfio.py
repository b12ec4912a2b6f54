"""Scenario: memory through VFIO, behind an IOMMU."""

from pathlib import Path

import os
from checks import Report
from machine import Boot, Machine, Slot

MIB = 1 << 20

MACHINE = Machine(
    name="vfio",
    suite="bookworm",
    modules=("9p", "9pnet_virtio", "virtio_pci", "nvme", "vfio_pci", "vfio_iommu_type1"),
    images={"nv0.img": 64 * MIB, "nv1.img": 64 * MIB, "ivs.img": 16 * MIB, "pmr.img": 16 * MIB},
    backends=(
        "-drive", "if=none,id=d0,file=nv0.img,format=raw",
        "-drive", "if=none,id=d1,file=nv1.img,format=raw",
        "-object", "memory-backend-file,id=m0,share=on,mem-path=ivs.img,size=16M",
        "-object", "memory-backend-file,id=m1,share=on,mem-path=pmr.img,size=16M"),
    slots=(
        Slot("nv0", 4, "nvme,serial=cmb0,drive=d0,cmb_size_mb=64"),
        Slot("nv1", 5, "nvme,serial=pmr1,drive=d1,pmrdev=m1"),
        Slot("ivs", 6, "ivshmem-plain,memdev=m0", port_options=",pref64-reserve=4G")),
    board=("-machine", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on"),
    kernel_arguments="intel_iommu=on iommu.passthrough=0 iommu.strict=1",
    memory="1024M")


class Scenario:
    machine = MACHINE

    def __init__(self, directory: Path, report: Report):
        self.directory = directory
        self.share = directory / "share"
        self.report = report

    def prepare(self) -> None:
        (self.directory / "ivs.img").write_bytes(os.urandom(16 * MIB))
        facts = {f"{slot.name}_slot": slot.address for slot in MACHINE.slots}
        lines = [f"{name}='{value}'\n" for name, value in facts.items()]
        (self.share / "facts").write_text("".join(lines))

    def look(self, stop: str, boot: Boot) -> None:
        if stop == "unplug":
            boot.qmp("device_del", id="ivs")

    def finish(self) -> None:
        pass
