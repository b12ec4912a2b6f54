"""Scenario: real BARs through sysfs, without an IOMMU.

The guest leases memory of two devices and writes patterns that the host chose for this run. The host
believes nobody: it takes the BARs' places from QEMU, and finds the patterns in the memory itself,
ivshmem's in its backing file, the controller memory buffer's by QEMU's own reads.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from checks import Report
from machine import Boot, Machine, Slot

KIB, MIB = 1 << 10, 1 << 20

MACHINE = Machine(
    name="sysfs",
    suite="bookworm",
    modules=("9p", "9pnet_virtio", "virtio_pci", "nvme"),
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


@dataclass(frozen=True)
class Window:
    """The part of a device's BAR 2 that becomes a pool."""

    device: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


# An offset and a size that are not the BAR's, so that mixing them up shows. The controller memory
# buffer is not RAM but a device model in QEMU, each access is an exit: a small window.
WINDOWS = {"ivs": Window("ivs", 1 * MIB, 8 * MIB), "cmb": Window("nv0", 4 * MIB, 256 * KIB)}
MARGIN = 64  # bytes of poison around the window of the controller memory buffer, and at its start


@dataclass(frozen=True)
class Lease:
    """What the guest acquires, fills, and reads back."""

    pool: str
    size: int
    alignment: int
    held: bool = True  # while the host looks


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


class Scenario:
    machine = MACHINE

    def __init__(self, directory: Path, report: Report):
        self.directory = directory
        self.share = directory / "share"
        self.report = report
        self.poison = os.urandom(16 * MIB)
        self.patterns = {name: os.urandom(lease.size) for name, lease in LEASES.items()}
        self.bars: dict[tuple[str, int], dict] = {}  # (device address, index): QEMU's view
        self.places: dict[str, int] = {}  # lease: its offset in the BAR

    def prepare(self) -> None:
        """Before the boot: poison the shared memory, tell the guest this run's facts."""
        (self.directory / "ivs.img").write_bytes(self.poison)
        facts = {f"{slot.name}_slot": slot.address for slot in MACHINE.slots}
        for name, window in WINDOWS.items():
            facts |= {f"{name}_offset": window.offset, f"{name}_size": window.size}
        for name, pattern in self.patterns.items():
            (self.share / f"{name}.pattern").write_bytes(pattern)
        # Only the guest can write there beforehand, word by word.
        words = [self.poison[i:i + 8] for i in range(0, MARGIN, 8)]
        facts["cmb_margin"] = " ".join(hex(int.from_bytes(word, "little")) for word in words)
        lines = [f"{name}='{value}'\n" for name, value in facts.items()]
        (self.share / "facts").write_text("".join(lines))

    def look(self, stop: str, boot: Boot) -> None:
        """While the guest stands still with its leases held."""
        self.ask_qemu_for_bars(boot)
        self.compare_bars()
        self.places = {name: self.place(name) for name, lease in LEASES.items() if lease.held}
        self.check_addresses()
        self.check_mappings()
        self.check_controller_memory(boot)

    def finish(self) -> None:
        """After the guest has ended, with its leases on ivshmem still held."""
        memory = (self.directory / "ivs.img").read_bytes()
        self.check_memory("ivs", memory, 0, self.poison)

    # QEMU's view

    def ask_qemu_for_bars(self, boot: Boot) -> None:
        def visit(devices: list[dict]) -> None:
            for device in devices:
                address = f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']}"
                for region in device["regions"]:
                    if region["bar"] < 6:
                        self.bars[address, region["bar"]] = region | {"device": device["qdev_id"]}
                visit(device.get("pci_bridge", {}).get("devices", []))

        for bus in boot.qmp("query-pci"):
            visit(bus["devices"])

    def bar(self, device: str) -> dict:
        """BAR 2, where the devices of this machine have their memory."""
        return next(
            bar for (_, index), bar in self.bars.items() if bar["device"] == device and index == 2)

    # What genpoolctl printed

    def compare_bars(self) -> None:
        printed = {
            (device["address"], bar["index"]): bar
            for device in self.printed("devices")["devices"] for bar in device["bars"]}
        self.report.equal(
            "genpoolctl prints the BARs that QEMU has, and no others",
            sorted(printed), sorted(self.bars))
        for (address, index), bar in sorted(self.bars.items()):
            # Ports have no place in memory.
            place = f"{bar['address']:#018x}" if bar["type"] == "memory" else None
            known = {
                "kind": bar["type"], "size": bar["size"], "physical": place, "bus": place,
                "prefetchable": bar.get("prefetch", False), "width64": bar.get("mem_type_64", False)}
            told = printed.get((address, index), {})
            self.report.equal(
                f"all that genpoolctl prints of BAR {index} of {address} is what QEMU says",
                {fact: told.get(fact) for fact in known}, known)

    def place(self, name: str) -> int:
        """Where a lease is in its BAR: its printed physical address in QEMU's view of the BAR."""
        physical = number(self.printed(name)["physical"])
        return physical - self.bar(WINDOWS[LEASES[name].pool].device)["address"]

    def check_addresses(self) -> None:
        self.report.check(
            "ivshmem's memory is above 4 GiB, so that a cut address shows",
            self.bar("ivs")["address"] >> 32 > 0, self.bar("ivs"))
        for name in self.places:
            lease, printed = LEASES[name], self.printed(name)
            window = WINDOWS[lease.pool]
            bus = number(printed["bus"])
            self.report.check(
                f"the {name} lease is aligned to {lease.alignment >> 10} KiB on the bus"
                " and in physical memory",
                bus % lease.alignment == 0 and number(printed["physical"]) % lease.alignment == 0,
                printed)
            self.report.check(
                f"the {name} lease has its size and lies within its pool's window",
                printed["size"] == lease.size and window.offset <= self.places[name]
                and self.places[name] + lease.size <= window.end,
                printed)

    def check_mappings(self) -> None:
        """The guest kernel's list of what is mapped, with which caching (debugfs, x86/PAT)."""
        mapped = [
            (int(first, 16), int(end, 16), caching) for first, end, caching in re.findall(
                r"\[mem (0x\w+)-(0x\w+)\] (\S+)", (self.share / "pat_memtype_list").read_text())]
        for pool, window in WINDOWS.items():
            bar = self.bar(window.device)
            start, end = bar["address"], bar["address"] + bar["size"]
            expected = [(start + window.offset, start + window.end, "write-combining")]
            for name in self.places:
                if LEASES[name].pool == pool:
                    lease = self.printed(name)
                    first = number(lease["physical"])
                    expected.append((first, first + lease["size"], lease["caching"]))
            self.report.equal(
                f"of {window.device}'s memory the daemon's window and the {pool} leases are mapped, cached"
                " as they are printed, and nothing else",
                sorted(entry for entry in mapped if start <= entry[0] < end), sorted(expected))

    # The memory itself

    def check_controller_memory(self, boot: Boot) -> None:
        window, around = WINDOWS["cmb"], 64 * KIB
        boot.qmp(
            "pmemsave", val=self.bar(window.device)["address"] + window.offset - around,
            size=window.size + 2 * around, filename="cmb.bin")
        before = bytes(around - MARGIN) + self.poison[:MARGIN]
        after = self.poison[:MARGIN] + bytes(around - MARGIN)
        self.check_memory(
            "cmb", (self.directory / "cmb.bin").read_bytes(), window.offset - around,
            before + bytes(window.size) + after)

    def check_memory(self, pool: str, memory: bytes, start: int, poison: bytes) -> None:
        """`memory`, and the `poison` that the host knows was in it, begin at `start` of the BAR."""
        window = WINDOWS[pool]
        inside = slice(window.offset - start, window.end - start)
        expected = bytearray(poison)
        expected[inside] = bytes(window.size)
        for name, place in self.places.items():
            if LEASES[name].pool == pool:
                pattern, at = self.patterns[name], place - start
                expected[at:at + len(pattern)] = pattern
                self.report.equal(
                    f"the {name} lease's pattern is at {place:#x} of the BAR, and only there",
                    [hex(start + found) for found in occurrences(pattern, memory)], [hex(place)])
        self.report.same_bytes(
            f"in the {pool} window the leases hold their patterns, and all else is zero",
            memory[inside], bytes(expected[inside]), window.offset)
        self.report.same_bytes(
            f"below the {pool} window every byte is what it was",
            memory[:inside.start], poison[:inside.start], start)
        self.report.same_bytes(
            f"above the {pool} window every byte is what it was",
            memory[inside.stop:], poison[inside.stop:], window.end)

    def printed(self, name: str) -> dict:
        return json.loads((self.share / f"{name}.json").read_text())


def number(text: str) -> int:
    return int(text, 16)


def occurrences(pattern: bytes, memory: bytes) -> list[int]:
    """Where the first bytes of a pattern are."""
    found, at = [], memory.find(pattern[:64])
    while at >= 0:
        found.append(at)
        at = memory.find(pattern[:64], at + 1)
    return found
