/*
 * Names of PCI vendors, devices and classes, from libpci's database (pci.ids).
 *
 * Why C: when anything goes wrong, libpci calls an error hook that must not return, and whose default
 * is exit(1). The only way out that keeps the process is longjmp, which may cross C frames but no
 * Swift ones. The hook and the lookup are variadic besides.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An open database. Not thread-safe: libpci reorders its tables at each lookup. */
struct gn_names;

/*
 * Reads the database at `path`, or libpci's own when it is NULL. Scans no bus, asks no network and no
 * hwdb. NULL when there is none, or none that libpci can read.
 */
struct gn_names *gn_open(const char *path);

void gn_close(struct gn_names *names);

/*
 * Write a name and its terminating NUL to `name`, cut to `size` bytes. False when the database has
 * none. gn_device_name gives vendor and device in one, and no name for an unknown device.
 */
bool gn_vendor_name(struct gn_names *names, uint16_t vendor, char *name, size_t size);
bool gn_device_name(struct gn_names *names, uint16_t vendor, uint16_t device, char *name,
                    size_t size);
/* The base class and subclass: the upper two bytes of the class code. */
bool gn_class_name(struct gn_names *names, uint16_t class_and_subclass, char *name, size_t size);
