#!/usr/bin/env python3
"""The time until genpoold is ready with many pools, whose devices are one IOMMU group or each its own.

    Tests/EndToEnd/startup.py .build/release

The limit is ten times what it takes. Work that grows with the square of the pools passes it: groups or
records of lent memory that are read anew for each pool took 33 s and 15 s.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POOLS = 500
# A disk would be measured elsewhere.
PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
LIMIT = 20.0  # seconds


def address(number: int) -> str:
    return f"0000:{1 + number // 256:02x}:{number // 8 % 32:02x}.{number % 8}"


def write_records(directory: Path) -> None:
    """Records of other memory that an earlier run lent: each attachment looks at all of them."""
    directory.mkdir(mode=0o700)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for number in range(1, POOLS + 1):
        reach = {"file": {"device": 1, "inode": number, "born": 1}}
        record = {"label": "BAR 2 of another", "reach": reach, "source": "sysfs", "users": [1001],
                  "state": "held", "boot": boot}
        (directory / f"{number}.outstanding").write_text(json.dumps(record))


def measure(programs: Path, is_one_group: bool) -> float:
    with tempfile.TemporaryDirectory(prefix="genpool-startup-", dir=PLACE) as place:
        tree = Path(place) / "tree"
        devices = []
        for number in range(POOLS):
            group = 1 if is_one_group else number + 1
            devices += ["--device", f"nvme,cmb=64K,address={address(number)},group={group}"]
        subprocess.run([programs / "genpoolctl", "emulate", tree, *devices], check=True,
                       stdout=subprocess.DEVNULL, timeout=10 * LIMIT)
        pools = [{"device": address(number), "bar": 2, "name": f"pool{number}"}
                 for number in range(POOLS)]
        configuration = Path(place) / "genpoold.json"
        configuration.write_text(json.dumps({"pools": pools}))
        write_records(Path(place) / "records")
        environment = dict(os.environ, GENPOOL_SYSFS_ROOT=str(tree), GENPOOL_SOCKET=f"{place}/socket")
        log = Path(place) / "log"
        start = time.monotonic()
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                [programs / "genpoold", "--config", configuration, "--runtime-directory",
                 f"{place}/records"], env=environment, stderr=output)
        try:
            while f" ready pools={POOLS} " not in log.read_text():
                if daemon.poll() is not None or time.monotonic() - start > LIMIT:
                    break
                time.sleep(0.01)
            return time.monotonic() - start
        finally:
            daemon.terminate()
            daemon.wait()


def main() -> int:
    failures = 0
    for is_one_group in (True, False):
        seconds = measure(Path(sys.argv[1]).resolve(), is_one_group)
        is_in_time = seconds < LIMIT
        failures += not is_in_time
        print(f"{'ok   ' if is_in_time else 'FAIL '} {POOLS} pools, "
              f"{'one IOMMU group' if is_one_group else 'a group each'}: {seconds:.2f} s")
    print(f"{2 - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
