import Glibc

/// The kernel's page size, in bytes: the unit of mappings.
package var pageSize: UInt64 { UInt64(getpagesize()) }
