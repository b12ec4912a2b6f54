"""The product in a guest with a userland: as `make install` puts it there, and what runs the checks."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from initramfs import Archive, applets
from kernel import Kernel, command

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
# Nothing that a test machine needs, and seconds of its boot.
MASKED = (
    "dev-hugepages.mount", "dev-mqueue.mount", "kmod-static-nodes.service",
    "ldconfig.service",
    "proc-sys-fs-binfmt_misc.automount", "run-lock.mount", "sys-fs-fuse-connections.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path", "systemd-binfmt.service", "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service", "systemd-journal-flush.service",
    "systemd-machine-id-commit.service", "systemd-modules-load.service",
    "systemd-random-seed.service", "systemd-remount-fs.service", "systemd-sysctl.service",
    "systemd-sysusers.service", "systemd-tmpfiles-setup-dev-early.service",
    "systemd-udev-load-credentials.service", "systemd-update-done.service", "tmp.mount")


# What modprobe can load. No drivers that udev would bind to the devices.
MODULES = ("vfio_pci", "vfio_iommu_type1")


def installation(binaries: Path, scripts: dict[str, Path], kernel: Kernel) -> bytes:
    """An archive to unpack over the userland's."""
    made = Archive()
    for name in ("proc", "sys", "dev", "run", "tmp", "host"):
        made.directory(name)
    with tempfile.TemporaryDirectory(prefix="genpool-install-") as directory:
        subprocess.run(
            ["make", "--no-print-directory", "install", f"DESTDIR={directory}", f"RELEASE={binaries.resolve()}"],
            cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
        add_modules(kernel, Path(directory))
        add_tree(made, Path(directory))
    add_tree(made, HERE / "guest/root")
    for unit in MASKED:
        made.link(f"etc/systemd/system/{unit}", "/dev/null")
    busybox = Path("/bin/busybox")
    made.file("usr/lib/busybox/busybox", busybox.read_bytes(), 0o755)
    for applet in applets(busybox):
        made.link(f"usr/lib/busybox/{applet}", "busybox")
    for name in ("sh", "kill"):
        made.link(f"usr/bin/{name}", "../lib/busybox/busybox")
    for name, script in scripts.items():
        made.file(name, script.read_bytes(), 0o755)
    return made.bytes()


def add_modules(kernel: Kernel, root: Path) -> None:
    release = kernel.package.name.removeprefix("linux-image-")
    place = root / "lib/modules" / release
    place.mkdir(parents=True)
    for file in {file for module in MODULES for file in kernel.load_order[module]}:
        shutil.copy(kernel.modules[file], place)
    command("depmod", "-b", str(root), release)
    (root / "lib").rename(root / "usr/lib")


def add_tree(archive: Archive, tree: Path) -> None:
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_dir():
            archive.directory(name)
        else:
            archive.file(name, path.read_bytes(), path.stat().st_mode & 0o777)
