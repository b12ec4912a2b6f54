/*
 * VFIO's group interface, with a type1v2 container: one function a system call, no policy.
 *
 * Why C: ioctl is variadic and its numbers are macros of macros, neither of which Swift sees. What the
 * kernel answers with records of variable length (struct vfio_region_info, vfio_iommu_type1_info and
 * their capability chains) is passed on as bytes: Swift takes it apart, with bounds.
 *
 * All return 0 or a value, or -errno.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Opens `path`, /dev/vfio/vfio. -EPROTO for another version of the interface than 0. */
int gs_vfio_open_container(const char *path);
/* Whether the kernel has the type1v2 IOMMU: 1 or 0. */
int gs_vfio_has_type1v2(int container);
/* Makes it a type1v2 container. Only with a group in it. */
int gs_vfio_set_type1v2(int container);
/* Writes at most `capacity` bytes of struct vfio_iommu_type1_info. Returns how many there are. */
int gs_vfio_iommu_info(int container, void *bytes, size_t capacity);
/* Lets the container's devices read and write `size` bytes of this process at `iova`. */
int gs_vfio_map(int container, uint64_t address, uint64_t iova, uint64_t size);
/* Takes back what was mapped in that range; `*unmapped` is how much it was, in bytes. */
int gs_vfio_unmap(int container, uint64_t iova, uint64_t size, uint64_t *unmapped);

/* Opens `path`, /dev/vfio/NUMBER. Only one process at a time can. */
int gs_vfio_open_group(const char *path);
/* Whether every device of the group is VFIO's or nobody's: 1 or 0. */
int gs_vfio_is_viable(int group);
int gs_vfio_set_container(int group, int container);
/* Opens the device `name` of the group, which has to be in a container with an IOMMU. */
int gs_vfio_open_device(int group, const char *name);

/* What a device can: bits of GS_VFIO_…. */
enum {
  GS_VFIO_CAN_RESET = 1 << 0,
  GS_VFIO_IS_PCI = 1 << 1,
};
int gs_vfio_device_flags(int device, uint32_t *flags);
/* Writes at most `capacity` bytes of struct vfio_region_info. Returns how many there are. */
int gs_vfio_region_info(int device, uint32_t region, void *bytes, size_t capacity);
int gs_vfio_reset(int device);
/* Raises `event`, an eventfd, when the kernel wants the device back. */
int gs_vfio_watch_requests(int device, int event);
