"""What a run has proved by DMA, and the table of it in the README."""

from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- proofs: `Tests/Machine/run --table README.md` writes this -->"
END = "<!-- /proofs -->"
TITLES = ("memory", "opened by", "DMA by", "kernel", "IOMMU", "proof")


@dataclass(frozen=True)
class Proof:
    """One row: every field as people read it."""

    memory: str
    source: str  # sysfs, vfio
    initiator: str  # whose DMA it was
    kernel: str  # 6.1
    iommu: str  # none, strict, passthrough
    proof: str

    def cells(self) -> tuple[str, ...]:
        return (self.memory, self.source, self.initiator, self.kernel, self.iommu, self.proof)


def table(proofs: list[Proof]) -> str:
    """Markdown, the rows in the order in which they were proved, the same one once."""
    rows = [TITLES, ("---",) * len(TITLES), *dict.fromkeys(proof.cells() for proof in proofs)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def written(file: Path) -> str:
    """The table that a file has."""
    return file.read_text().split(BEGIN + "\n")[1].split(END)[0]


def write(file: Path, proofs: list[Proof]) -> None:
    before, rest = file.read_text().split(BEGIN + "\n")
    after = rest.split(END, 1)[1]
    file.write_text(before + BEGIN + "\n" + table(proofs) + END + after)
