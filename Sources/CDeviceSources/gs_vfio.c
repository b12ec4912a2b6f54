#define _GNU_SOURCE
#include "gs_vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Swift reads these records by their offsets: VFIORecord.swift, VFIORegion.swift, VFIOContainer.swift. */
_Static_assert(sizeof(struct vfio_info_cap_header) == 8, "vfio_info_cap_header");
_Static_assert(offsetof(struct vfio_info_cap_header, next) == 4, "vfio_info_cap_header.next");
_Static_assert(offsetof(struct vfio_region_info, flags) == 4, "vfio_region_info.flags");
_Static_assert(offsetof(struct vfio_region_info, cap_offset) == 12, "vfio_region_info.cap_offset");
_Static_assert(offsetof(struct vfio_region_info, size) == 16, "vfio_region_info.size");
_Static_assert(offsetof(struct vfio_region_info, offset) == 24, "vfio_region_info.offset");
_Static_assert(offsetof(struct vfio_region_info_cap_sparse_mmap, nr_areas) == 8, "nr_areas");
_Static_assert(offsetof(struct vfio_region_info_cap_sparse_mmap, areas) == 16, "areas");
_Static_assert(sizeof(struct vfio_region_sparse_mmap_area) == 16, "vfio_region_sparse_mmap_area");
_Static_assert(offsetof(struct vfio_iommu_type1_info, flags) == 4, "vfio_iommu_type1_info.flags");
_Static_assert(offsetof(struct vfio_iommu_type1_info, iova_pgsizes) == 8, "iova_pgsizes");
_Static_assert(offsetof(struct vfio_iommu_type1_info, cap_offset) == 16, "cap_offset");
_Static_assert(offsetof(struct vfio_iommu_type1_info_cap_iova_range, nr_iovas) == 8, "nr_iovas");
_Static_assert(offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges) == 16, "ranges");
_Static_assert(sizeof(struct vfio_iova_range) == 16, "vfio_iova_range");

static int control(int descriptor, unsigned long request, void *argument) {
  int result;
  do result = ioctl(descriptor, request, argument);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

static int control_by_value(int descriptor, unsigned long request, unsigned long value) {
  return control(descriptor, request, (void *)value);
}

static int open_node(const char *path) {
  int result;
  do result = open(path, O_RDWR | O_CLOEXEC);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

int gs_vfio_open_container(const char *path) {
  int container = open_node(path);
  if (container < 0) return container;
  int version = control_by_value(container, VFIO_GET_API_VERSION, 0);
  if (version == VFIO_API_VERSION) return container;
  close(container);
  return version < 0 ? version : -EPROTO;
}

int gs_vfio_has_type1v2(int container) {
  int result = control_by_value(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU);
  return result < 0 ? result : result != 0;
}

int gs_vfio_set_type1v2(int container) {
  return control_by_value(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
}

/* Both records of variable length begin with argsz: what we have room for, then what there is. */
static int variable(int descriptor, unsigned long request, void *bytes, size_t capacity) {
  uint32_t size = (uint32_t)capacity;
  memcpy(bytes, &size, sizeof size);
  int result = control(descriptor, request, bytes);
  if (result < 0) return result;
  memcpy(&size, bytes, sizeof size);
  return size > INT32_MAX ? -EOVERFLOW : (int)size;
}

int gs_vfio_iommu_info(int container, void *bytes, size_t capacity) {
  if (capacity < sizeof(struct vfio_iommu_type1_info)) return -EINVAL;
  memset(bytes, 0, capacity);
  return variable(container, VFIO_IOMMU_GET_INFO, bytes, capacity);
}

int gs_vfio_map(int container, uint64_t address, uint64_t iova, uint64_t size) {
  struct vfio_iommu_type1_dma_map map = {
      .argsz = sizeof map,
      .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
      .vaddr = address,
      .iova = iova,
      .size = size,
  };
  return control(container, VFIO_IOMMU_MAP_DMA, &map);
}

int gs_vfio_unmap(int container, uint64_t iova, uint64_t size, uint64_t *unmapped) {
  struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = size};
  int result = control(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
  *unmapped = unmap.size;
  return result;
}

int gs_vfio_open_group(const char *path) { return open_node(path); }

int gs_vfio_is_viable(int group) {
  struct vfio_group_status status = {.argsz = sizeof status};
  int result = control(group, VFIO_GROUP_GET_STATUS, &status);
  return result < 0 ? result : (status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0;
}

int gs_vfio_set_container(int group, int container) {
  return control(group, VFIO_GROUP_SET_CONTAINER, &container);
}

int gs_vfio_open_device(int group, const char *name) {
  return control(group, VFIO_GROUP_GET_DEVICE_FD, (void *)name);
}

int gs_vfio_device_flags(int device, uint32_t *flags) {
  struct vfio_device_info info = {.argsz = sizeof info};
  int result = control(device, VFIO_DEVICE_GET_INFO, &info);
  if (result < 0) return result;
  *flags = (info.flags & VFIO_DEVICE_FLAGS_RESET ? GS_VFIO_CAN_RESET : 0u)
           | (info.flags & VFIO_DEVICE_FLAGS_PCI ? GS_VFIO_IS_PCI : 0u);
  return 0;
}

int gs_vfio_region_info(int device, uint32_t region, void *bytes, size_t capacity) {
  if (capacity < sizeof(struct vfio_region_info)) return -EINVAL;
  memset(bytes, 0, capacity);
  memcpy((char *)bytes + offsetof(struct vfio_region_info, index), &region, sizeof region);
  return variable(device, VFIO_DEVICE_GET_REGION_INFO, bytes, capacity);
}

int gs_vfio_reset(int device) { return control_by_value(device, VFIO_DEVICE_RESET, 0); }

int gs_vfio_watch_requests(int device, int event) {
  struct vfio_irq_info info = {.argsz = sizeof info, .index = VFIO_PCI_REQ_IRQ_INDEX};
  int result = control(device, VFIO_DEVICE_GET_IRQ_INFO, &info);
  if (result < 0) return result;
  if (info.count < 1 || !(info.flags & VFIO_IRQ_INFO_EVENTFD)) return -ENOTSUP;
  /* The descriptor is in the data, behind the record. */
  char bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
  struct vfio_irq_set set = {
      .argsz = sizeof bytes,
      .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
      .index = VFIO_PCI_REQ_IRQ_INDEX,
      .count = 1,
  };
  int32_t descriptor = event;
  memcpy(bytes, &set, sizeof set);
  memcpy(bytes + sizeof set, &descriptor, sizeof descriptor);
  return control(device, VFIO_DEVICE_SET_IRQS, bytes);
}
