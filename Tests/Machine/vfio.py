"""Scenario: memory through VFIO, behind a strict IOMMU.

Leases of two devices, found by the host where they are (leasing.py); devices that change drivers; and
the host pulls one out while its memory is leased.
"""

import time

import leasing
from leasing import KIB, MIB, Lease, Window
from machine import Boot, Machine, Slot

MACHINE = Machine(
    name="vfio",
    suite="bookworm",
    modules=(
        "9p", "9pnet_virtio", "virtio_pci", "nvme", "crc32c_generic", "ext4", "vfio_pci",
        "vfio_iommu_type1"),
    programs=("genpoold", "genpoolctl", "dma-proof"),
    images={"nv0.img": 64 * MIB, "nv1.img": 64 * MIB, "ivs.img": 16 * MIB},
    backends=(
        "-drive", "if=none,id=d0,file=nv0.img,format=raw",
        "-drive", "if=none,id=d1,file=nv1.img,format=raw",
        "-object", "memory-backend-file,id=m0,share=on,mem-path=ivs.img,size=16M"),
    slots=(
        Slot("nv0", 4, "nvme,serial=cmb0,drive=d0,cmb_size_mb=64"),
        Slot("nv1", 5, "nvme,serial=disk1,drive=d1"),
        Slot("ivs", 6, "ivshmem-plain,memdev=m0", port_options=",pref64-reserve=4G")),
    board=("-machine", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on"),
    # The check of the timer through remapped interrupts counts on a host that is not busy.
    kernel_arguments="intel_iommu=on iommu.passthrough=0 iommu.strict=1")

WINDOWS = {"ivs": Window("ivs", 1 * MIB, 8 * MIB), "cmb": Window("nv0", 4 * MIB, 256 * KIB)}

LEASES = {
    "nudge": Lease("ivs", 4 * KIB, 4 * KIB),
    "small": Lease("ivs", 64 * KIB, 64 * KIB),
    "large": Lease("ivs", 2 * MIB, 2 * MIB),
    "released": Lease("ivs", 64 * KIB, 4 * KIB, held=False),
    "cmb-nudge": Lease("cmb", 4 * KIB, 4 * KIB),
    "cmb": Lease("cmb", 64 * KIB, 64 * KIB),
}


class Scenario(leasing.Scenario):
    machine = MACHINE
    windows = WINDOWS
    leases = LEASES
    mapped = "uncached"
    kernel_maps_bar = True

    def look(self, stop: str, boot: Boot) -> None:
        if stop == "held":
            super().look(stop, boot)
        elif stop == "unplug":
            self.unplug(boot)

    def unplug(self, boot: Boot) -> None:
        """Pulls ivshmem out: removal waits until the daemon and all who lease have let go."""
        began = time.monotonic()
        boot.qmp("device_del", id="ivs")
        boot.wait_for("DEVICE_DELETED", device="ivs")
        took = time.monotonic() - began
        self.report.check(
            "with live leases the removal completes within a second", took < 1, f"{took:.2f} s")
        print(f"        (it took {took:.2f} s)")
