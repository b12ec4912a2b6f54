"""A machine that never was, as its /sys shows it, and what is true of it: devices of every shape that
real trees, recordings and dumps have, each with the answers that genpoolctl has to give."""

import os
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 1 << 20
PAGE = 4096
MEMORY, IO, PREFETCHABLE, WIDE, SIZE_ALIGNED = 0x200, 0x100, 0x2000, 0x100000, 0x40000
UNSET, ENHANCED = 0x20000000, 0x20

# The kinds of trees: what is kept of a device.
SHAPES = {
    "kernel": dict(attributes=True, links="whole"),
    "older kernel": dict(attributes=False, links="whole"),
    "recording": dict(attributes=True, links="dangling"),  # as umockdev-record leaves one
    "topology": dict(attributes=False, links="dangling"),  # as hwloc-gather-topology does
    "dump": dict(attributes=False, links="none"),  # no more than registers and resources
    "odd": dict(attributes=True, links="whole"),
}
CLASSES = [0x010802, 0x020000, 0x050000, 0x058000, 0x068000, 0x0C0330, 0x120000, 0x030000, 0x030200, 0x038000, 0x010803]
DRIVERS = [None, None, "vfio-pci", "uio_pci_generic", "pci-stub", "mlx5_vfio_pci", "nvgrace_gpu_vfio_pci", "nvme", "odd_variant", "mlx5_core"]
# What a machine's BARs can be refused by, and nothing.
RULES = {"no-response", "unreadable", "display", "accelerator", "bridge", "boot-vga", "driver-bound", "group-not-viable",
         "unknown-capabilities", "unassigned-bar", "partial-page", "overlapping-bar", "registers", "not-prefetchable",
         "no-resource-file", "registers-beside", "none"}
# The kinds of places and registers that the trees must have had, once each.
PLACES = {"root bus", "register of 0", "register of 0 outside the windows", "register of 0 on a root bus", "stale register", "rom", "odd row with a place"}
met_places: "set[str]" = set()
PASSIVE = {"vfio-pci", "uio_pci_generic", "pci-stub"}


@dataclass
class Bar:
    index: int
    kind: int
    size: int
    flags: int
    physical: "int | None" = None  # None while unassigned
    bus: "int | None" = None  # None where nothing tells
    register: int = 0  # the bus address that the device has, told or not
    stale: "int | None" = None  # what the register holds instead: it was reset, or is an old one

    @property
    def is_memory(self) -> bool:
        return bool(self.kind & MEMORY)


@dataclass
class Device:
    address: str
    vendor: int
    model: int
    code: int
    revision: int
    board: "tuple[int, int]"
    bars: "dict[int, Bar]" = field(default_factory=dict)
    driver: "str | None" = None
    has_vfio_directory: bool = False
    group: "int | None" = None
    node: "int | None" = None
    is_virtual: bool = False
    is_silent: bool = False
    is_console: bool = False
    odd_row: "int | None" = None
    odd_text: str = ""
    rom: "tuple[int, int] | None" = None  # first CPU address, size
    lacks_file: "int | None" = None
    capabilities: "list[bytes]" = field(default_factory=list)
    registers: "list[tuple[str, int, int, int]]" = field(default_factory=list)  # name, BAR, offset, size
    hides_capabilities: bool = False
    bridge: "Bridge | None" = None  # None on a host bridge's own bus

    def config(self) -> bytes:
        if self.is_silent:
            return b"\xff" * 256
        header = bytearray(256)
        ids = (0xFFFF, 0xFFFF) if self.is_virtual else (self.vendor, self.model)
        struct.pack_into("<HHHH", header, 0, *ids, 0, 0x10 if self.capabilities else 0)
        struct.pack_into("<I", header, 8, self.revision | self.code << 8)
        struct.pack_into("<HH", header, 0x2C, *self.board)
        for bar in self.bars.values():
            if self.is_virtual or bar.flags & ENHANCED:
                continue
            low = (bar.register if bar.stale is None else bar.stale) | (bar.flags & 0xF)
            struct.pack_into("<I", header, 0x10 + 4 * bar.index, low & 0xFFFFFFFF)
            if bar.flags & WIDE:
                struct.pack_into("<I", header, 0x14 + 4 * bar.index, low >> 32)
        place = 0x40
        if self.capabilities:
            header[0x34] = place
        for number, capability in enumerate(self.capabilities):
            after = place + (len(capability) + 3) // 4 * 4
            header[place : place + len(capability)] = capability
            header[place + 1] = after if number + 1 < len(self.capabilities) else 0
            place = after
        return bytes(header[:64] if self.hides_capabilities else header)


@dataclass
class Bridge:
    """A bridge on a host bridge's own bus: its windows take all memory of what is behind it."""

    address: str
    secondary: int
    offset: int  # CPU address minus bus address
    windows: "dict[bool, tuple[int, int]]"  # is prefetchable: first CPU address, size

    def config(self) -> bytes:
        header = bytearray(256)
        struct.pack_into("<HHHH", header, 0, 0x1B36, 0x000C, 0x0006, 0)
        struct.pack_into("<I", header, 8, 0x060400 << 8)
        header[0x0E] = 1
        header[0x19] = header[0x1A] = self.secondary
        for is_prefetchable, (first, size) in self.windows.items():
            base, limit = first - self.offset, first - self.offset + size - 1
            place, wide = (0x24, 1) if is_prefetchable else (0x20, 0)
            struct.pack_into("<HH", header, place, base >> 16 & 0xFFF0 | wide, limit >> 16 & 0xFFF0 | wide)
            if is_prefetchable:
                struct.pack_into("<II", header, 0x28, base >> 32, limit >> 32)
        return bytes(header)

    def rows(self) -> "list[tuple[int, int, int]]":
        rows = [(0, 0, 0)] * 13 + [(0, 0, 0)]
        for is_prefetchable in (False, True):
            first, size = self.windows[is_prefetchable]
            flags = MEMORY | (PREFETCHABLE | WIDE if is_prefetchable else 0)
            rows.append((first, first + size - 1, flags))
        return rows + [(0, 0, 0)]


class Machine:
    """The devices of one seed, written below `root` in one of SHAPES."""

    def __init__(self, seed: int, shape: str, root: Path) -> None:
        self.random = random.Random(f"{seed} {shape}")
        self.shape = shape
        self.traits = SHAPES[shape]
        self.root = root
        self.devices: "list[Device]" = []
        self.bridges: "list[Bridge]" = []
        self.make()
        self.write()

    # MARK: what is there

    def make(self) -> None:
        group = 0
        for domain in range(self.random.randint(1, 3)):
            domain_number = self.random.choice([0, 0x10, 0x10000]) + domain
            offset = self.random.choice([0, 0, 0x1B00000000, 0x4000000000])
            # Above any 32-bit address the bus must have room for what lies low.
            start = self.random.choice([0x80000000, 0xC0000000])
            high = (domain + 1) << 44
            for number in range(self.random.randint(1, 4)):
                windows = {False: (start + offset + number * 64 * MEBIBYTE, 64 * MEBIBYTE),
                           True: (high + (number << 36), 1 << 36)}
                # A host bridge that translates has all of it at one distance, here.
                windows[True] = (windows[True][0] + offset, windows[True][1])
                bridge = Bridge(f"{domain_number:04x}:00:{number + 1:02x}.0", number + 1, offset, windows)
                self.bridges.append(bridge)
                free = {key: first for key, (first, _) in windows.items()}
                for slot in range(self.random.randint(1, 4)):
                    group += 1
                    for function in range(self.random.choice([1, 1, 2, 3])):
                        address = f"{domain_number:04x}:{bridge.secondary:02x}:{slot:02x}.{function:x}"
                        self.devices.append(self.device(address, bridge, free, group))
            # Devices of a host bridge's own bus: no bridge tells where they are but their registers.
            free = {False: start + offset + 0x10000000, True: high + offset + (1 << 40)}
            for slot in range(0x10, 0x10 + self.random.randint(0, 3)):
                group += 1
                self.devices.append(self.device(f"{domain_number:04x}:00:{slot:02x}.0", None, free, group, offset))
        self.overlap()
        self.spoil_registers()
        self.add_roms()
        self.spoil_rows()

    def device(self, address: str, bridge: "Bridge | None", free: "dict[bool, int]", group: int, offset: "int | None" = None) -> Device:
        rng = self.random
        offset = bridge.offset if bridge is not None else offset
        device = Device(address, rng.choice([0x1234, 0x1AF4, 0x8086]), rng.randrange(1, 0xFFFE), rng.choice(CLASSES),
                        rng.randrange(256), (rng.randrange(0xFFFF), rng.randrange(0xFFFF)), bridge=bridge)
        device.node = rng.choice([None, 0, 1])
        device.group = rng.choice([None, group, group])
        device.driver = rng.choice(DRIVERS) if self.traits["links"] != "none" else None
        if self.traits["links"] == "none":
            device.group = None
        device.has_vfio_directory = device.driver == "odd_variant" and self.traits["links"] == "whole"
        device.is_virtual = rng.random() < 0.15 and self.traits["links"] != "none"
        device.is_silent = rng.random() < 0.05
        device.is_console = rng.random() < 0.05 and self.traits["attributes"]
        index = 0
        while index < 6:
            if rng.random() < 0.45:
                bar = self.bar(index, offset, free)
                device.bars[index] = bar
                index += 2 if bar.flags & WIDE else 1
            else:
                index += 1
        for bar in device.bars.values():
            if device.is_silent or not bar.is_memory or bar.physical is None:
                continue
            # A virtual function's follows from the bridge, as Enhanced Allocation's does.
            told = bridge is not None or not (device.is_virtual or bar.flags & ENHANCED)
            bar.bus = bar.register if told else None
        if not device.is_silent:
            self.add_capabilities(device)
        if self.shape == "odd" and rng.random() < 0.2:
            device.odd_row = rng.randrange(6)
        if rng.random() < 0.05 and device.bars:
            device.lacks_file = rng.choice(sorted(device.bars))
        return device

    def bar(self, index: int, offset: int, free: "dict[bool, int]") -> Bar:
        rng = self.random
        if rng.random() < 0.15:
            start = rng.randrange(0x1000, 0xF000, 0x100)
            return Bar(index, IO, 256, IO | SIZE_ALIGNED | 1, start, start, start)
        is_wide = rng.random() < 0.6 and index < 5
        is_prefetchable = is_wide and rng.random() < 0.7
        size = 1 << rng.choice([8, 11, 12, 14, 16, 20])
        flags = MEMORY | SIZE_ALIGNED
        flags |= (WIDE | 4 if is_wide else 0) | (PREFETCHABLE | 8 if is_prefetchable else 0)
        if rng.random() < 0.08:
            return Bar(index, MEMORY, size, flags | UNSET)
        if rng.random() < 0.08:
            flags |= ENHANCED
        start = (free[is_prefetchable] + size - 1) // size * size
        free[is_prefetchable] = start + size
        return Bar(index, MEMORY, size, flags, start, None, start - offset)

    def add_capabilities(self, device: Device) -> None:
        rng = self.random
        memory = [bar for bar in device.bars.values() if bar.is_memory and bar.size >= PAGE]
        if rng.random() < 0.4:
            device.capabilities.append(bytes([0x01, 0, 3, 0, 8, 0, 0, 0]))  # power management
        if memory and rng.random() < 0.5:
            table, pending = rng.choice(memory), rng.choice(memory)
            count = rng.choice([1, 8, 64, 129])
            offsets = [rng.randrange(0, bar.size, 8) for bar in (table, pending)]
            device.capabilities.append(struct.pack("<BBHII", 0x11, 0, count - 1, offsets[0] | table.index,
                                                   offsets[1] | pending.index))
            device.registers.append(("MSI-X table", table.index, offsets[0], 16 * count))
            device.registers.append(("pending bits of MSI-X", pending.index, offsets[1], (count + 63) // 64 * 8))
        if memory and rng.random() < 0.5:
            for kind in rng.sample([1, 2, 3, 4, 8], 2):
                bar = rng.choice(memory)
                offset, size = rng.randrange(0, bar.size, 4), rng.choice([4, 0x38, 0x1000])
                device.capabilities.append(struct.pack("<BBBBBBHII", 0x09, 0, 16, kind, bar.index, 0, 0, offset, size))
                # Shared memory (8) is memory, and in another maker's device it is no virtio.
                if device.vendor == 0x1AF4 and kind < 5:
                    device.registers.append(("virtio", bar.index, offset, size))
        device.hides_capabilities = bool(device.capabilities) and rng.random() < 0.1

    def overlap(self) -> None:
        """Moves a few BARs over others."""
        movable = [(device, bar) for device in self.devices for bar in device.bars.values()
                   if bar.is_memory and bar.physical is not None and not bar.flags & ENHANCED]
        for device, bar in movable:
            if self.random.random() < 0.04:
                other_device, other = self.random.choice(movable)
                if other_device.bridge is device.bridge and other is not bar and bool(other.flags & WIDE) == bool(
                        bar.flags & WIDE) and other.physical % bar.size == 0:
                    distance = bar.physical - other.physical
                    bar.physical = other.physical
                    bar.register -= distance
                    bar.bus = None if bar.bus is None else bar.bus - distance
                    if bool(other.flags & PREFETCHABLE) != bool(bar.flags & PREFETCHABLE) and device.is_virtual:
                        bar.bus = bar.register if device.bridge is not None else None

    def spoil_registers(self) -> None:
        """Registers that were reset, or are left over: the bridge above knows better, and on a root bus none does."""
        outside = 0
        for device in self.devices:
            for bar in device.bars.values():
                if not bar.is_memory or bar.physical is None or device.is_virtual or bar.flags & ENHANCED:
                    continue
                chance = self.random.random()
                if chance < 0.06:
                    bar.stale = 0
                    if chance < 0.03 and device.bridge is not None and bar.flags & WIDE:
                        # Firmware has put it where no window of its bridge leads to.
                        outside += 1
                        bar.physical = (1 << 46) + (outside << 24)
                    # On a root bus 0 is an address like any other.
                    bar.bus = None if device.bridge is not None or bar.bus is None else 0
                elif chance < 0.12 and device.bridge is not None:
                    bar.stale = 0x40000000 // bar.size * bar.size
                    bar.bus = None

    def add_roms(self) -> None:
        """Expansion ROMs, a few of them over BARs."""
        bars = [bar for device in self.devices for bar in device.bars.values()
                if bar.is_memory and bar.physical is not None and bar.size >= PAGE]
        for number, device in enumerate(self.devices):
            if self.random.random() < 0.1:
                over = self.random.choice(bars).physical if bars and self.random.random() < 0.5 else 0x70000000 + number * 0x10000
                device.rom = (over // PAGE * PAGE, PAGE)

    def spoil_rows(self) -> None:
        """The text of rows that make no sense. One that names a place occupies it."""
        for device in self.devices:
            if device.odd_row is None:
                continue
            texts = ["0x0000000000002000 0x0000000000001000 0x0000000000040200", "", "0x10 0x20",
                     "0x0000000000000000 0xffffffffffffffff 0x0000000000040200", "garbage"]
            bar = device.bars.get(device.odd_row)
            if bar is not None and bar.is_memory and bar.physical is not None:
                texts += ["0x%016x 0x%016x 0x%016x" % (bar.physical, bar.physical + bar.size - 1, MEMORY | IO)] * 5
            device.odd_text = self.random.choice(texts)

    # MARK: what is true

    def overlapping(self, device: Device, bar: Bar) -> bool:
        for other_device in self.devices:
            for other in other_device.bars.values():
                if other is bar or not other.is_memory or other.physical is None:
                    continue
                if other_device.odd_row == other.index and not other_device.odd_text.endswith("0x%016x" % (MEMORY | IO)):
                    continue
                if other.physical < bar.physical + bar.size and bar.physical < other.physical + other.size:
                    return True
            # The ROM of the same device counts as well.
            if other_device.rom is not None:
                first, size = other_device.rom
                if first < bar.physical + bar.size and bar.physical < first + size:
                    met_places.add("rom")
                    return True
        return False

    def is_vfio(self, device: Device) -> bool:
        driver = device.driver
        return driver is not None and (device.has_vfio_directory or driver == "vfio-pci" or driver.endswith("_vfio_pci"))

    def spoils_group(self, member: Device) -> bool:
        return not (member.driver is None or member.driver in PASSIVE or self.is_vfio(member))

    def rules(self, device: Device, bar: Bar) -> "set[str]":
        """The attach rules that refuse a memory BAR through sysfs."""
        rules = set()
        if device.is_silent:
            rules.add("no-response")
        if device.odd_row is not None:
            rules.add("unreadable")
        base, subclass = device.code >> 16, device.code >> 8 & 0xFF
        if base == 3:
            rules.add("accelerator" if subclass in (2, 0x80) else "display")
        if base == 6:
            rules.add("bridge")
        if device.is_console:
            rules.add("boot-vga")
        if device.driver is not None and device.driver not in PASSIVE:
            rules.add("driver-bound")
        if device.group is not None:
            if self.traits["links"] == "dangling":
                rules.add("group-not-viable")  # nobody knows who else is in it
            elif any(self.spoils_group(other) for other in self.devices
                     if other is not device and other.group == device.group):
                rules.add("group-not-viable")
        if device.hides_capabilities:
            rules.add("unknown-capabilities")
        if bar.physical is None:
            rules.add("unassigned-bar")
        else:
            if bar.physical % PAGE or bar.size % PAGE:
                rules.add("partial-page")
            if self.overlapping(device, bar):
                rules.add("overlapping-bar")
            is_nvme = device.code in (0x010802, 0x010803) and bar.index == 0
            if is_nvme:
                rules.add("registers")
            elif not bar.flags & PREFETCHABLE:
                rules.add("not-prefetchable")
            if device.lacks_file == bar.index:
                rules.add("no-resource-file")
        if not device.hides_capabilities and "registers" not in rules and any(
                index == bar.index and offset // PAGE * PAGE < bar.size and size for _, index, offset, size in device.registers):
            rules.add("registers-beside")
        return rules

    # MARK: files

    def note_places(self) -> None:
        for device in self.devices:
            if device.bridge is None:
                met_places.add("root bus")
            if device.odd_row is not None and device.odd_text.endswith("0x%016x" % (MEMORY | IO)):
                met_places.add("odd row with a place")
            for bar in device.bars.values():
                if bar.stale == 0:
                    met_places.add("register of 0" if device.bridge is not None else "register of 0 on a root bus")
                    if device.bridge is not None and bar.physical >= 1 << 46:
                        met_places.add("register of 0 outside the windows")
                elif bar.stale is not None:
                    met_places.add("stale register")

    def write(self) -> None:
        self.note_places()
        for directory in ("bus/pci/devices", "bus/pci/drivers", "kernel/iommu_groups", "devices"):
            (self.root / directory).mkdir(parents=True)
        for bridge in self.bridges:
            domain = bridge.address.split(":")[0]
            path = self.root / f"devices/pci{domain}:00/{bridge.address}"
            self.fill(path, bridge.address, 0x1B36, 0x000C, 0x060400, bridge.rows(), bridge.config())
        for device in self.devices:
            self.write_device(device)

    def fill(self, path: Path, address: str, vendor: int, model: int, code: int, rows: list, config: bytes) -> None:
        path.mkdir(parents=True)
        link = self.root / "bus/pci/devices" / address
        link.symlink_to(os.path.relpath(path, link.parent))
        for name, text in [("vendor", f"0x{vendor:04x}"), ("device", f"0x{model:04x}"), ("class", f"0x{code:06x}"), ("irq", "0")]:
            (path / name).write_text(text + "\n")
        (path / "config").write_bytes(config)
        texts = [row if isinstance(row, str) else "0x%016x 0x%016x 0x%016x" % row for row in rows]
        (path / "resource").write_text("".join(text + "\n" for text in texts))

    def write_device(self, device: Device) -> None:
        bridge = device.bridge
        domain = device.address.split(":")[0]
        path = self.root / f"devices/pci{domain}:00" / (bridge.address if bridge is not None else "") / device.address
        rows: list = [(0, 0, 0)] * (13 if self.traits["attributes"] else 7)
        for bar in device.bars.values():
            start = bar.physical or 0
            rows[bar.index] = (start, start + bar.size - 1, bar.flags)
        if device.odd_row is not None:
            rows[device.odd_row] = device.odd_text
        if device.rom is not None:
            first, size = device.rom
            rows[6] = (first, first + size - 1, MEMORY | PREFETCHABLE | SIZE_ALIGNED)
        self.fill(path, device.address, device.vendor, device.model, device.code, rows, device.config())
        for bar in device.bars.values():
            if bar.is_memory and bar.index != device.lacks_file:
                with open(path / f"resource{bar.index}", "wb") as file:
                    file.truncate(bar.size)
        (path / "subsystem_vendor").write_text(f"0x{device.board[0]:04x}\n")
        (path / "subsystem_device").write_text(f"0x{device.board[1]:04x}\n")
        (path / "numa_node").write_text(f"{-1 if device.node is None else device.node}\n")
        if self.traits["attributes"]:
            (path / "revision").write_text(f"0x{device.revision:02x}\n")
            (path / "power_state").write_text("D0\n")
            if device.is_console:
                (path / "boot_vga").write_text("1\n")
        if device.is_virtual:
            (path / "physfn").symlink_to(f"../{device.address[:-1]}7")
        if device.has_vfio_directory:
            (path / "vfio-dev").mkdir()
        if self.traits["links"] == "none":
            return
        if device.driver is not None:
            driver = self.root / "bus/pci/drivers" / device.driver
            if self.traits["links"] == "whole":
                driver.mkdir(exist_ok=True)
            (path / "driver").symlink_to(os.path.relpath(driver, path))
        if device.group is not None:
            group = self.root / f"kernel/iommu_groups/{device.group}"
            if self.traits["links"] == "whole":
                (group / "devices").mkdir(parents=True, exist_ok=True)
                (group / "devices" / device.address).symlink_to(os.path.relpath(path, group / "devices"))
            (path / "iommu_group").symlink_to(os.path.relpath(group, path))
