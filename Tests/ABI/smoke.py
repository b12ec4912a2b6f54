"""What a script does with libgenpool by ctypes: smoke.py LIBRARY SYSFS_ROOT. Exits 0 if all went well."""

import ctypes
import gc
import sys
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_ulong, c_void_p
from pathlib import Path

Misuse = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
Algorithm = ctypes.CFUNCTYPE(
    c_ulong, POINTER(c_ulong), c_ulong, c_ulong, ctypes.c_uint, c_void_p, c_void_p, c_ulong)


class RegionOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("sysfs_root", c_char_p), ("device", c_char_p), ("memory", c_char_p),
                ("offset", c_uint64), ("length", c_uint64), ("source", c_uint32), ("caching", c_uint32),
                ("allow", c_char_p)]


def caught_signals() -> str:
    status = Path("/proc/self/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("SigCgt"))


def is_mapped(library: str) -> bool:
    return Path(library).resolve().name in Path("/proc/self/maps").read_text()


def main(path: str, root: str) -> None:
    before = caught_signals()
    library = ctypes.CDLL(path)
    assert caught_signals() == before, "loading installs no signal handler"
    library.gen_pool_create.restype = c_void_p
    library.gen_pool_alloc.restype = c_ulong
    library.gen_pool_alloc_algo.restype = c_ulong
    library.gen_pool_avail.restype = c_size_t
    library.gen_pool_has_addr.restype = c_bool
    library.gen_pool_dma_alloc.restype = c_void_p
    library.genpool_error_text.restype = c_char_p
    library.genpool_version.restype = c_char_p
    print("genpool", library.genpool_version().decode())

    told = []
    handler = Misuse(lambda fatal, message, context: told.append((fatal, message.decode())))
    library.genpool_set_misuse_handler(handler, None)
    pool = c_void_p(library.gen_pool_create(12, -1))
    assert library.gen_pool_add(pool, c_ulong(0x100000), c_size_t(0x10000), -1) == 0
    address = library.gen_pool_alloc(pool, c_size_t(5000))
    assert address == 0x100000
    assert library.gen_pool_has_addr(pool, c_ulong(0x10ffff), c_size_t(1))
    last = Algorithm(lambda bits, size, start, count, data, pool, chunk: size - count)
    assert library.gen_pool_alloc_algo(pool, c_size_t(1), last, None) == 0x10f000
    library.gen_pool_free(pool, c_ulong(0x10f000), c_size_t(1))
    library.gen_pool_free(pool, c_ulong(0x10f000), c_size_t(1))
    assert len(told) == 1 and told[0][0] == 1 and "not allocated" in told[0][1], told
    library.gen_pool_free(pool, c_ulong(address), c_size_t(5000))
    library.gen_pool_destroy(pool)

    options = RegionOptions(ctypes.sizeof(RegionOptions), root.encode(), b"0000:01:00.0", b"cmb")
    region = c_void_p()
    assert library.genpool_region_open(byref(options), byref(region)) == 0, library.genpool_error_text()
    pool = c_void_p(library.gen_pool_create(12, -1))
    assert library.genpool_region_add(region, pool, None) == 0
    bus = c_uint64()
    data = library.gen_pool_dma_alloc(pool, c_size_t(4096), byref(bus))
    ctypes.memset(data, 0xa5, 4096)
    assert bus.value and ctypes.string_at(data, 2) == b"\xa5\xa5"
    library.gen_pool_free(pool, c_ulong(data), c_size_t(4096))
    library.gen_pool_destroy(pool)
    assert library.genpool_region_close(region) == 0
    library.genpool_set_misuse_handler(None, None)
    assert caught_signals() == before, "nor does use"

    handle = library._handle
    del library
    gc.collect()
    ctypes.CDLL(None).dlclose(c_void_p(handle))
    assert is_mapped(path), "dlclose does not unload what may have threads and memory"


if __name__ == "__main__":
    main(*sys.argv[1:])
