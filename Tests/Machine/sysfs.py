"""Scenario: real BARs through sysfs, without an IOMMU.

Leases of two devices, found by the host where they are: see leasing.py.
"""

import leasing
from leasing import KIB, MIB, Lease, Window
from machine import Machine, Slot

MACHINE = Machine(
    name="sysfs",
    suite="bookworm",
    modules=("9p", "9pnet_virtio", "virtio_pci", "nvme"),
    programs=("genpoold", "genpoolctl"),
    images={"nv0.img": 64 * MIB, "nv1.img": 64 * MIB, "ivs.img": 16 * MIB},
    backends=(
        "-drive", "if=none,id=d0,file=nv0.img,format=raw",
        "-drive", "if=none,id=d1,file=nv1.img,format=raw",
        "-object", "memory-backend-file,id=m0,share=on,mem-path=ivs.img,size=16M"),
    slots=(
        Slot("nv0", 4, "nvme,serial=cmb0,drive=d0,cmb_size_mb=64"),
        Slot("nv1", 5, "nvme,serial=disk1,drive=d1"),
        # So large a window pushes the 64-bit BARs above 4 GiB: addresses cut to 32 bits would show.
        Slot("ivs", 6, "ivshmem-plain,memdev=m0", port_options=",pref64-reserve=4G"),
        Slot("testdev", 7, "pci-testdev,membar=8M", root_port=False)))


# An offset and a size that are not the BAR's, so that mixing them up shows. The controller memory
# buffer is not RAM but a device model in QEMU, each access is an exit: a small window.
WINDOWS = {"ivs": Window("ivs", 1 * MIB, 8 * MIB), "cmb": Window("nv0", 4 * MIB, 256 * KIB)}

# The nudge comes first: without it the others could be aligned by chance.
LEASES = {
    "nudge": Lease("ivs", 4 * KIB, 4 * KIB),
    "small": Lease("ivs", 64 * KIB, 64 * KIB),
    "large": Lease("ivs", 2 * MIB, 2 * MIB),
    "released": Lease("ivs", 64 * KIB, 4 * KIB, held=False),
    "killed": Lease("ivs", 64 * KIB, 4 * KIB, held=False),
    "cmb-nudge": Lease("cmb", 4 * KIB, 4 * KIB),
    "cmb": Lease("cmb", 64 * KIB, 64 * KIB),
}


class Scenario(leasing.Scenario):
    machine = MACHINE
    windows = WINDOWS
    leases = LEASES
