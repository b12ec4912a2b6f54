"""Scenario: DMA by NVMe controllers into memory that genpool handed out, through sysfs, without an IOMMU."""

import os
from pathlib import Path

from checks import Report
from machine import Boot, Machine, Slot

KIB, MIB = 1 << 10, 1 << 20

MACHINE = Machine(
    name="nvme",
    suite="bookworm",
    modules=("9p", "9pnet_virtio", "virtio_pci", "nvme"),
    images={"nv0.img": 64 * MIB, "nv1.img": 64 * MIB, "nv2.img": 64 * MIB, "pmr.img": 16 * MIB, "ivs.img": 16 * MIB},
    backends=(
        "-drive", "if=none,id=d0,file=nv0.img,format=raw",
        "-drive", "if=none,id=d1,file=nv1.img,format=raw",
        "-drive", "if=none,id=d2,file=nv2.img,format=raw",
        "-object", "memory-backend-file,id=m0,share=on,mem-path=ivs.img,size=16M",
        "-object", "memory-backend-file,id=m1,share=on,mem-path=pmr.img,size=16M"),
    slots=(
        Slot("nv0", 4, "nvme,serial=cmb0,drive=d0,cmb_size_mb=64"),
        Slot("nv1", 5, "nvme,serial=pmr1,drive=d1,pmrdev=m1"),
        Slot("ivs", 6, "ivshmem-plain,memdev=m0", port_options=",pref64-reserve=4G"),
        Slot("nv2", 7, "nvme,serial=legacy2,drive=d2,cmb_size_mb=16,legacy-cmb=on")))


class Scenario:
    machine = MACHINE

    def __init__(self, directory: Path, report: Report):
        self.directory = directory
        self.share = directory / "share"
        self.report = report

    def prepare(self) -> None:
        facts = {f"{slot.name}_slot": slot.address for slot in MACHINE.slots}
        lines = [f"{name}='{value}'\n" for name, value in facts.items()]
        (self.share / "facts").write_text("".join(lines))

    def look(self, stop: str, boot: Boot) -> None:
        pass

    def finish(self) -> None:
        pass
