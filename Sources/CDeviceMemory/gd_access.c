#include "gd_access.h"

#include <errno.h>
#include <string.h>

#include "gd_fence.h"
#include "gd_guarded.h"

typedef volatile uint8_t byte;
typedef volatile uint64_t word;

/* How many of `count` bytes at `device` come before the first aligned word. */
static size_t head(const volatile void *device, size_t count) {
  size_t bytes = -(uintptr_t)device & (sizeof(word) - 1);
  return bytes < count ? bytes : count;
}

/* The arguments of one access; each function below uses what it needs. */
struct request {
  volatile void *device;
  void *host;
  size_t count;
  size_t stride;
  size_t where;
  uint64_t value;
};

static int load(void *argument) {
  struct request *request = argument;
  switch (request->count) {
  case 1: request->value = *(const volatile uint8_t *)request->device; return 0;
  case 2: request->value = *(const volatile uint16_t *)request->device; return 0;
  case 4: request->value = *(const volatile uint32_t *)request->device; return 0;
  case 8: request->value = *(const volatile uint64_t *)request->device; return 0;
  default: return -EINVAL;
  }
}

static int store(void *argument) {
  struct request *request = argument;
  switch (request->count) {
  case 1: *(volatile uint8_t *)request->device = (uint8_t)request->value; return 0;
  case 2: *(volatile uint16_t *)request->device = (uint16_t)request->value; return 0;
  case 4: *(volatile uint32_t *)request->device = (uint32_t)request->value; return 0;
  case 8: *(volatile uint64_t *)request->device = request->value; return 0;
  default: return -EINVAL;
  }
}

static int zero(void *argument) {
  const struct request *request = argument;
  byte *device = request->device;
  byte *end = device + request->count;
  for (byte *aligned = device + head(device, request->count); device < aligned; device++) *device = 0;
  for (; (size_t)(end - device) >= sizeof(word); device += sizeof(word)) *(word *)device = 0;
  for (; device < end; device++) *device = 0;
  gd_fence_stores();
  return 0;
}

/* memcpy of eight bytes on the host's side is one load or store there, aligned or not. */
static int copy_in(void *argument) {
  const struct request *request = argument;
  byte *device = request->device;
  byte *end = device + request->count;
  const uint8_t *host = request->host;
  for (byte *aligned = device + head(device, request->count); device < aligned;) *device++ = *host++;
  for (; (size_t)(end - device) >= sizeof(word); device += sizeof(word), host += sizeof(word)) {
    uint64_t value;
    memcpy(&value, host, sizeof value);
    *(word *)device = value;
  }
  while (device < end) *device++ = *host++;
  gd_fence_stores();
  return 0;
}

static int copy_out(void *argument) {
  const struct request *request = argument;
  const byte *device = request->device;
  const byte *end = device + request->count;
  uint8_t *host = request->host;
  for (const byte *aligned = device + head(device, request->count); device < aligned;) {
    *host++ = *device++;
  }
  for (; (size_t)(end - device) >= sizeof(word); device += sizeof(word), host += sizeof(word)) {
    uint64_t value = *(const word *)device;
    memcpy(host, &value, sizeof value);
  }
  while (device < end) *host++ = *device++;
  return 0;
}

/* The aligned word around byte `offset`, or the first byte of it that is not zero if only some are
   asked about. */
static uint64_t sample(const struct request *request, size_t offset, size_t *where) {
  const byte *device = request->device;
  size_t before = (uintptr_t)(device + offset) & (sizeof(word) - 1);
  size_t after = sizeof(word) - before;
  size_t first = before < offset ? offset - before : 0;
  size_t end = after < request->count - offset ? offset + after : request->count;
  *where = first;
  if (end - first == sizeof(word)) return *(const word *)(device + first);
  for (; *where < end; ++*where) {
    uint64_t value = device[*where];
    if (value) return value;
  }
  return 0;
}

static int find_nonzero(void *argument) {
  struct request *request = argument;
  for (size_t offset = 0;;) {
    request->value = sample(request, offset, &request->where);
    if (request->value) return 1;
    size_t left = request->count - 1 - offset;
    if (left == 0) return 0;
    offset += request->stride < left ? request->stride : left;
  }
}

int gd_load(const volatile void *device, unsigned width, uint64_t *value) {
  struct request request = {.device = (volatile void *)device, .count = width};
  size_t failed;
  int answer = gd_guarded(device, width, load, &request, &failed);
  if (answer == 0) *value = request.value;
  return answer;
}

int gd_store(volatile void *device, unsigned width, uint64_t value) {
  struct request request = {.device = device, .count = width, .value = value};
  size_t failed;
  return gd_guarded(device, width, store, &request, &failed);
}

int gd_zero(volatile void *device, size_t count, size_t *failed) {
  struct request request = {.device = device, .count = count};
  return gd_guarded(device, count, zero, &request, failed);
}

int gd_copy_in(volatile void *device, const void *host, size_t count, size_t *failed) {
  struct request request = {.device = device, .host = (void *)host, .count = count};
  return gd_guarded(device, count, copy_in, &request, failed);
}

int gd_copy_out(void *host, const volatile void *device, size_t count, size_t *failed) {
  struct request request = {.device = (volatile void *)device, .host = host, .count = count};
  return gd_guarded(device, count, copy_out, &request, failed);
}

int gd_find_nonzero(const volatile void *device, size_t count, size_t stride, size_t *where,
                    uint64_t *found, size_t *failed) {
  struct request request = {
      .device = (volatile void *)device, .count = count, .stride = stride ? stride : 1};
  if (count == 0) return 0;
  int answer = gd_guarded(device, count, find_nonzero, &request, failed);
  *where = request.where;
  *found = request.value;
  return answer;
}
