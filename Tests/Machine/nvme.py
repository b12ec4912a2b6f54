"""Scenario: DMA by NVMe controllers into memory that genpool handed out, through sysfs, without an IOMMU.

Who does DMA is never the owner of the memory, unless a row says so: a controller recognises its own
buffer whatever the bus thinks. Patterns and seeds are the host's, and the host looks itself: into the
files behind ivshmem, the persistent memory region and the disks, and by QEMU's own reads into controller
memory buffers.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from checks import Report
from machine import Boot, Machine, Slot
from proofs import Proof
from splitmix import splitmix

KIB, MIB, PAGE = 1 << 10, 1 << 20, 4096

MACHINE = Machine(
    name="nvme",
    suite="bookworm",
    modules=("9p", "9pnet_virtio", "virtio_pci", "nvme"),
    memory="768M",  # the initial file system has more programs
    examples=("nvme-memory", "nvme-memory-c", "iova-c"),
    images={
        "nv0.img": 64 * MIB, "nv1.img": 64 * MIB, "nv2.img": 64 * MIB,
        "pmr.img": 16 * MIB, "ivs.img": 16 * MIB},
    backends=(
        "-drive", "if=none,id=d0,file=nv0.img,format=raw",
        "-drive", "if=none,id=d1,file=nv1.img,format=raw",
        "-drive", "if=none,id=d2,file=nv2.img,format=raw",
        "-object", "memory-backend-file,id=m0,share=on,mem-path=ivs.img,size=16M",
        "-object", "memory-backend-file,id=m1,share=on,mem-path=pmr.img,size=16M"),
    slots=(
        Slot("nv0", 4, "nvme,serial=cmb0,drive=d0,cmb_size_mb=64"),
        Slot("nv1", 5, "nvme,serial=pmr1,drive=d1,pmrdev=m1"),
        Slot("ivs", 6, "ivshmem-plain,memdev=m0"),
        Slot("nv2", 7, "nvme,serial=legacy2,drive=d2,cmb_size_mb=16,legacy-cmb=on")))


@dataclass(frozen=True)
class Memory:
    """What controllers write into."""

    words: str
    device: str
    bar: int
    file: str | None = None  # what is behind it on the host


MEMORIES = {
    "cmb": Memory("CMB, NVMe 1.4", "nv0", 2),
    "legacy": Memory("CMB, NVMe 1.2", "nv2", 2),
    "pmr": Memory("PMR", "nv1", 4, "pmr.img"),
    "ivs": Memory("ivshmem", "ivs", 2, "ivs.img"),
}
SERIALS = {"nv0": "cmb0", "nv1": "pmr1", "nv2": "legacy2"}
# Who does DMA to what, a page between two of poison.
ARRIVALS = (
    ("nv1", "cmb"), ("nv2", "cmb"), ("nv1", "legacy"), ("nv0", "pmr"), ("nv2", "pmr"),
    ("nv0", "ivs"), ("nv1", "ivs"))
CONTENT = 1 * MIB  # of nv1's first blocks, for the churn
PAYLOAD = 512 * KIB  # of each transfer: as much as one command moves
WRITE_AT, READ_AT = 2 * MIB, 3 * MIB  # on nv1's and nv0's disk
ROUNDS = 1000


class Scenario:
    machine = MACHINE
    iommu = "none"
    arrivals = ARRIVALS

    def __init__(self, directory: Path, report: Report):
        self.directory = directory
        self.share = directory / "share"
        self.report = report
        self.proofs: list[Proof] = []
        self.kernel = ""  # which the run tells
        self.seed = secrets.randbits(63)
        self.content, self.write, self.read, self.leased = (
            os.urandom(size) for size in (CONTENT, PAYLOAD, PAYLOAD, 64 * KIB))
        # What the files behind memory hold, page for page, as far as the host can know.
        self.files = {
            memory.file: bytearray(os.urandom(16 * MIB))
            for memory in MEMORIES.values() if memory.file}

    def prepare(self) -> None:
        """Before the boot: fill memory and disks, tell the guest this run's facts."""
        for name, content in self.files.items():
            (self.directory / name).write_bytes(content)
        self.fill("nv1.img", 0, self.content)
        self.fill("nv0.img", READ_AT, self.read)
        (self.share / "content").write_bytes(self.content)
        (self.share / "payload").write_bytes(self.write)
        (self.share / "leased").write_bytes(self.leased)
        facts = {f"{slot.name}_slot": slot.address for slot in self.machine.slots}
        facts |= {
            "seed": self.seed, "rounds": ROUNDS, "write_lba": WRITE_AT // 512,
            "read_lba": READ_AT // 512, "blocks": PAYLOAD // 512,
            "arrivals": " ".join(f"{initiator}:{memory}" for initiator, memory in self.arrivals)}
        lines = [f"{name}='{value}'\n" for name, value in facts.items()]
        (self.share / "facts").write_text("".join(lines))

    def fill(self, image: str, offset: int, content: bytes) -> None:
        with (self.directory / image).open("r+b") as file:
            file.seek(offset)
            file.write(content)

    # Looking, while the guest stands still

    def look(self, stop: str, boot: Boot) -> None:
        kind, _, rest = stop.partition("-")
        initiator, _, memory = rest.partition("-")
        getattr(self, f"look_at_{kind}")(initiator, memory, boot)

    def look_at_arrival(self, initiator: str, name: str, boot: Boot) -> None:
        memory, facts = MEMORIES[name], self.facts(f"arrival-{initiator}-{name}")
        poison = splitmix(self.seed, 3 * PAGE)
        at = self.place(facts, memory, boot)
        found = self.bytes_of(memory, boot, at, 3 * PAGE)
        same = self.same(
            f"{initiator}'s DMA is in {memory.words}: its serial number, in the middle page",
            found[PAGE + 4:PAGE + 24], SERIALS[initiator].ljust(20).encode())
        same &= self.same(
            f"the poison around {initiator}'s DMA into {memory.words} is whole",
            found[:PAGE] + found[2 * PAGE:], poison[:PAGE] + poison[2 * PAGE:])
        if memory.file:
            expected = self.files[memory.file]
            expected[at:at + 3 * PAGE] = found
            same &= self.same(
                f"all else of the {len(expected) >> 20} MiB behind {memory.words} is what it was",
                (self.directory / memory.file).read_bytes(), bytes(expected))
        self.prove(
            same, memory.words, initiator, "a page arrives between poison", facts["source"])

    def look_at_read(self, initiator: str, name: str, boot: Boot) -> None:
        """Blocks that the host put on the initiator's disk are in the memory."""
        memory, facts = MEMORIES[name], self.facts(f"read-{initiator}-{name}")
        at = self.place(facts["data"], memory, boot)
        expected = self.files[memory.file]
        expected[at:at + PAYLOAD] = self.read
        same = self.same(
            f"{PAYLOAD >> 10} KiB of {initiator}'s disk are in {memory.words}, and all else is what it was",
            (self.directory / memory.file).read_bytes(), bytes(expected))
        self.prove(same, memory.words, initiator, f"NVM read of {PAYLOAD >> 10} KiB, by a PRP list")

    def look_at_write(self, initiator: str, name: str, boot: Boot) -> None:
        """Blocks that the host chose went by way of the memory onto the initiator's disk."""
        disk = (self.directory / f"{initiator}.img").read_bytes()
        expected = bytearray(len(disk))
        expected[:CONTENT] = self.content
        expected[WRITE_AT:WRITE_AT + PAYLOAD] = self.write
        same = self.same(
            f"what {initiator} took from {MEMORIES[name].words} is on its disk, and all else is what it was",
            disk, bytes(expected))
        self.prove(
            same, MEMORIES[name].words, initiator,
            f"NVM write of {PAYLOAD >> 10} KiB, queue and PRP list there too")

    def look_at_end(self, name: str, behind: str, boot: Boot) -> None:
        """One page past a memory's end, which is where another one starts."""
        facts = self.facts(f"end-{name}-{behind}")
        memory, neighbour = MEMORIES[name], MEMORIES[behind]
        initiator = self.device_at(facts["initiator"], boot)
        at = self.place(facts, neighbour, boot)
        found = self.bytes_of(neighbour, boot, at, 2 * PAGE)
        same = self.report.equal(
            f"{neighbour.words} starts where {memory.words} ends",
            self.end(memory, boot), self.start(neighbour, boot) + at)
        same &= self.same(
            f"a page past the end of {memory.words} is in the first page of {neighbour.words}",
            found[4:24], SERIALS[initiator].ljust(20).encode())
        same &= self.same(
            "and the page after it is whole", found[PAGE:], splitmix(self.seed, 3 * PAGE)[2 * PAGE:])
        if neighbour.file:
            self.files[neighbour.file][at:at + 2 * PAGE] = found
        self.prove(same, memory.words, initiator, "past the end: the guard shows it")

    def look_at_lease(self, name: str, _: str, boot: Boot) -> None:
        """What a lease of the daemon's holds is in the memory; all else of it was erased."""
        memory, facts = MEMORIES[name], self.facts(f"leased-{name}")
        at = self.place(facts, memory, boot)
        size = self.end(memory, boot) - self.start(memory, boot)
        self.same(
            f"the lease's pattern is in {memory.words}, and all else of it is zero",
            self.bytes_of(memory, boot, 0, size),
            bytes(at) + self.leased + bytes(size - at - len(self.leased)))

    # At the end

    def finish(self) -> None:
        probed = self.facts("probed")["memories"][0]
        self.report.equal(
            "genpoolctl prints the buffer that QEMU was told to have",
            {key: probed[key] for key in ("kind", "bar", "offset", "size", "uses")},
            {"kind": "cmb", "bar": 2, "offset": 0, "size": 64 * MIB,
             "uses": ["submission queues", "PRP and SGL lists", "read data", "write data"]})
        for initiator, name, proof in (
                ("nv1", "cmb", f"queue, lists and data in one pool, {ROUNDS:,} times"),
                ("nv0", "cmb", "the same in its own buffer, 200 times")):
            facts = self.facts(f"churn-{initiator}-{name}")
            self.prove(
                self.report.check(
                    f"{initiator} has used queues, lists and data in {MEMORIES[name].words}",
                    facts["queues"] > 30 and facts["lists"] > 50
                    and facts["pages"] > facts["rounds"], facts),
                MEMORIES[name].words, initiator, proof)
        own, peer = (self.facts(f"mixed-{initiator}-cmb") for initiator in ("nv0", "nv1"))
        self.prove(
            self.report.check(
                "a command with host pages and its own buffer's is refused with 0x4012",
                own.get("status", "").startswith("0x4012"), own),
            MEMORIES["cmb"].words, "nv0", "mixed with host pages: the owner refuses (0x4012)")
        self.prove(
            self.report.check(
                "to a peer the same two pages are memory like any other", "status" not in peer, peer),
            MEMORIES["cmb"].words, "nv1", "mixed with host pages: a peer does not mind")

    def prove(
        self, holds: bool, memory: str, initiator: str, proof: str, source: str = "sysfs"
    ) -> None:
        if holds:
            who = "its owner" if self.owns(initiator, memory) else "a peer"
            self.proofs.append(
                Proof(memory, source, f"{who}, {initiator}", self.kernel, self.iommu, proof))

    def owns(self, initiator: str, words: str) -> bool:
        return any(m.device == initiator and m.words == words for m in MEMORIES.values())

    # Where things are

    def place(self, facts: dict, memory: Memory, boot: Boot) -> int:
        """Where an allocation is in its BAR: its physical address in QEMU's view of the BAR."""
        return int(facts["physical"], 16) - self.start(memory, boot)

    def start(self, memory: Memory, boot: Boot) -> int:
        return boot.bars()[memory.device, memory.bar]["address"]

    def end(self, memory: Memory, boot: Boot) -> int:
        return self.start(memory, boot) + boot.bars()[memory.device, memory.bar]["size"]

    def device_at(self, address: str, boot: Boot) -> str:
        return next(
            device for (device, _), bar in boot.bars().items() if bar["device"] == address)

    def bytes_of(self, memory: Memory, boot: Boot, at: int, size: int) -> bytes:
        if memory.file:
            return (self.directory / memory.file).read_bytes()[at:at + size]
        boot.qmp("pmemsave", val=self.start(memory, boot) + at, size=size, filename="memory.bin")
        return (self.directory / "memory.bin").read_bytes()

    def same(self, sentence: str, got: bytes, expected: bytes) -> bool:
        return self.report.same_bytes(sentence, got, expected)

    def facts(self, name: str) -> dict:
        return json.loads((self.share / f"{name}.json").read_text())
