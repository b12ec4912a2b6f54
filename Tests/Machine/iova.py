"""Scenarios: DMA by NVMe controllers through VFIO, by addresses that an IOMMU translates.

As in nvme.py, whose machine it is with an IOMMU: once strict; and once as `iommu=pt` boots it, where the
same memory has its bus address for a controller in no one's hands, and an IOVA for one in VFIO's. What the
IOMMU must stop, it must have told the kernel, and nothing else.
"""

import re
from dataclasses import replace

import nvme
from machine import Boot

MODULES = (*nvme.MACHINE.modules, "vfio_pci", "vfio_iommu_type1")
BOARD = ("-machine", "q35,kernel-irqchip=split", "-device", "intel-iommu,intremap=on")
STRICT = replace(
    nvme.MACHINE, name="iova", modules=MODULES, board=BOARD,
    # The check of the timer through remapped interrupts counts on a host that is not busy.
    kernel_arguments="intel_iommu=on iommu.passthrough=0 iommu.strict=1")
PASSTHROUGH = replace(
    STRICT, name="passthrough", kernel_arguments="intel_iommu=on iommu=pt")
ROUNDS = 100


class Scenario(nvme.Scenario):
    machine = STRICT
    iommu = "strict"
    arrivals = (("nv1", "cmb"), ("nv0", "pmr"), ("nv0", "ivs"), ("nv1", "ivs"))
    unmapped = ("nv1", "cmb")

    def prepare(self) -> None:
        super().prepare()
        initiator, memory = self.unmapped
        with (self.share / "facts").open("a") as facts:
            facts.write(
                f"iommu='{self.iommu}'\nunmapped='{initiator}:{memory}'\nrounds='{ROUNDS}'\n")

    def look_at_arrival(self, initiator: str, name: str, boot: Boot) -> None:
        facts = self.facts(f"arrival-{initiator}-{name}")
        bus = int(facts["bus"], 16) + nvme.PAGE
        told, number = facts["told"].split()
        if facts["source"] == "vfio":
            self.report.check(
                f"{initiator} is told an IOVA, which is not the bus address",
                told == "iova" and int(number, 16) != bus, facts)
        else:
            self.report.check(
                f"{initiator} is told the bus address", (told, int(number, 16)) == ("bus", bus), facts)
        super().look_at_arrival(initiator, name, boot)

    def finish(self) -> None:
        initiator, name = self.unmapped
        words = nvme.MEMORIES[name].words
        facts = self.facts(f"churn-{initiator}-{name}")
        self.prove(
            self.report.check(
                f"{initiator} has used queues, lists and data in {words} by their IOVAs",
                facts["queues"] > 3 and facts["lists"] > 5 and facts["pages"] > facts["rounds"],
                facts),
            words, initiator, f"queue, lists and data in one pool, {ROUNDS:,} times", "vfio")
        self.check_faults()

    def check_faults(self) -> None:
        """What the IOMMU stopped, by the kernel's log: the strays of the proof, and no other."""
        initiator, name = self.unmapped
        facts = self.facts("unmapped")
        log = (self.share / "dmesg.log").read_text()
        stopped = {
            int(address, 16) for address in re.findall(r"DMAR: \[DMA .*fault addr (0x\w+)", log)}
        expected = {int(address, 16) for address in facts["faults"]}
        holds = self.report.equal(
            "the IOMMU stopped what was never mapped and what was unmapped, and nothing else",
            sorted(map(hex, stopped)), sorted(map(hex, expected)))
        # What it leaves out of the log could be anything.
        holds &= self.report.check(
            "the kernel's log has all faults", "callbacks suppressed" not in log, log[-2000:])
        for proof in (
                "stopped: a page past the end, an IOVA never mapped, the bus address",
                "stopped: an IOVA that was freed and unmapped"):
            self.prove(holds, nvme.MEMORIES[name].words, initiator, proof, "vfio")


class Passthrough(Scenario):
    machine = PASSTHROUGH
    iommu = "passthrough"
    arrivals = (("nv1", "legacy"), ("nv0", "ivs"))
    unmapped = ("nv1", "legacy")
