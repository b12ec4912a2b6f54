/*
 * umockdev's testbed: a sysfs of one's own under /sys, and udevd's messages from it.
 *
 * Why C: the library is looked for at run time, which takes casts to functions' types.
 * For tests, in a process started by umockdev-wrapper. Not for use by several threads at once.
 */
#pragma once
#include <stdbool.h>

/* Whether there is umockdev, and the process runs under it. */
bool cu_mock_is_possible(void);

/* Empties /sys, until cu_mock_end. False if that does not work. */
bool cu_mock_begin(void);
void cu_mock_end(void);

/*
 * Makes a device as `record` describes it, in the format of umockdev-record, and then tells "add".
 * False if that does not work.
 */
bool cu_mock_add(const char *record);
/*
 * Tells that `action` has happened to the device at `path`, /sys/devices/…. There is room for some ten
 * messages that have not been received; the library aborts when there is none.
 */
void cu_mock_tell(const char *path, const char *action);
/* Removes the device's directory. Newer versions tell "remove", too. */
void cu_mock_remove(const char *path);
