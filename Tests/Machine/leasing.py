"""What scenarios with a daemon have in common: leases that hold patterns, and the host that looks.

The guest leases memory of devices and writes patterns that the host chose for this run. The host
believes nobody: it takes the BARs' places from QEMU, and finds the patterns in the memory itself,
ivshmem's in its backing file, the controller memory buffer's by QEMU's own reads.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from checks import Report
from machine import Boot, Machine
from proofs import Proof

KIB, MIB = 1 << 10, 1 << 20
MARGIN = 64  # bytes of poison around the window of the controller memory buffer, and at its start


@dataclass(frozen=True)
class Window:
    """The part of a device's BAR 2 that becomes a pool."""

    device: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True)
class Lease:
    """What the guest acquires, fills, and reads back."""

    pool: str
    size: int
    alignment: int
    held: bool = True  # while the host looks


class Scenario:
    """Of a machine: the parts of its BARs that become pools, and what is leased of them."""

    machine: Machine
    windows: dict[str, Window]  # pools "ivs" and "cmb"
    leases: dict[str, Lease]
    mapped = "write-combining"  # how the daemon says that its mappings are cached
    kernel_maps_bar = False  # whether the kernel's driver maps the BAR as well

    def __init__(self, directory: Path, report: Report):
        self.directory = directory
        self.share = directory / "share"
        self.report = report
        self.proofs: list[Proof] = []  # of DMA
        self.poison = os.urandom(16 * MIB)
        self.patterns = {name: os.urandom(lease.size) for name, lease in self.leases.items()}
        self.bars: dict[tuple[str, int], dict] = {}  # (device address, index): QEMU's view
        self.places: dict[str, int] = {}  # lease: its offset in the BAR

    def prepare(self) -> None:
        """Before the boot: poison the shared memory, tell the guest this run's facts."""
        (self.directory / "ivs.img").write_bytes(self.poison)
        facts = {f"{slot.name}_slot": slot.address for slot in self.machine.slots}
        for name, window in self.windows.items():
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
        self.places = {name: self.place(name) for name, lease in self.leases.items() if lease.held}
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
        return physical - self.bar(self.windows[self.leases[name].pool].device)["address"]

    def check_addresses(self) -> None:
        self.report.check(
            "ivshmem's memory is above 4 GiB, so that a cut address shows",
            self.bar("ivs")["address"] >> 32 > 0, self.bar("ivs"))
        for name in self.places:
            lease, printed = self.leases[name], self.printed(name)
            window = self.windows[lease.pool]
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
        for pool, window in self.windows.items():
            bar = self.bar(window.device)
            start, end = bar["address"], bar["address"] + bar["size"]
            # Uncached unless a range register says otherwise, and none does for BARs.
            listed = {"uncached": "uncached-minus"}
            expected = [(start + window.offset, start + window.end, self.mapped)]
            if self.kernel_maps_bar:
                expected.append((start, end, self.mapped))
            for name in self.places:
                if self.leases[name].pool == pool:
                    lease = self.printed(name)
                    first = number(lease["physical"])
                    expected.append((first, first + lease["size"], lease["caching"]))
            expected = [
                (first, last, listed.get(caching, caching)) for first, last, caching in expected]
            self.report.equal(
                f"of {window.device}'s memory the daemon's window and the {pool} leases are mapped, cached"
                " as they are printed, and nothing else",
                sorted(entry for entry in mapped if start <= entry[0] < end), sorted(expected))

    # The memory itself

    def check_controller_memory(self, boot: Boot) -> None:
        window, around = self.windows["cmb"], 64 * KIB
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
        window = self.windows[pool]
        inside = slice(window.offset - start, window.end - start)
        expected = bytearray(poison)
        expected[inside] = bytes(window.size)
        for name, place in self.places.items():
            if self.leases[name].pool == pool:
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
