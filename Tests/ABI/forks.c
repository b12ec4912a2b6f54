/*
 * Children of a parent whose threads open and close regions and devices all the time: forks ROOT COUNT.
 * A child may find a lock taken by a thread that it has not; nothing of that may reach it.
 */
#include "check.h"

#include <errno.h>
#include <genpool.h>
#include <pthread.h>
#include <string.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "0000:01:00.0"

static const char *root;
static volatile int is_over;
static struct genpool_region *held;

static int open_and_close(const char *memory) {
  struct genpool_region_options options;
  struct genpool_region *region;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.sysfs_root = root;
  options.device = DEVICE;
  options.memory = memory;
  int result = genpool_region_open(&options, &region);
  return result == 0 ? genpool_region_close(region) : result;
}

/* Whether a device's handle comes and goes, with a pool of its own or the one that others made. */
static int use_device(void) {
  struct device *device;
  if (genpool_device_get(root, DEVICE, &device) != 0) return 0;
  struct gen_pool *pool = devm_gen_pool_create(device, 12, -1, NULL);
  int right = !IS_ERR(pool) || PTR_ERR(pool) == -EINVAL;
  right &= gen_pool_get(device, NULL) != NULL;
  return (genpool_device_put(device) == 0) & right;
}

static void *work(void *memory) {
  int right = 1;
  while (!is_over) {
    int result = open_and_close(memory);
    /* The parent holds bar2, and the threads and children take turns with bar4. */
    right &= result == 0 || result == -EBUSY || result == -EAGAIN;
    right &= use_device();
  }
  return right ? memory : NULL;
}

/* What a child does; 0 when all answered as it should. */
static int live(void) {
  /* The parent's threads may have the memory open just now. */
  int result = open_and_close("bar4");
  if (result != 0 && result != -EBUSY && result != -EAGAIN) return 1;
  if (genpool_region_close(held) != -EPERM || !strstr(genpool_error_text(), "parent")) return 2;
  if (!use_device()) return 4;
  struct gen_pool *pool = gen_pool_create(12, -1);
  if (!pool || gen_pool_add(pool, 0x1000, 0x1000, -1) || gen_pool_alloc(pool, 1) != 0x1000) return 3;
  return 0;
}

int main(int count, char **arguments) {
  if (count != 3) return 64;
  root = arguments[1];
  struct genpool_region_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.sysfs_root = root;
  options.device = DEVICE;
  options.memory = "bar2";
  check(genpool_region_open(&options, &held) == 0, "the parent holds a region");
  pthread_t threads[3];
  const char *memories[] = {"bar4", "bar4", "bar2"};
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, work, (void *)memories[i]);
  int killed = 0, wrong = 0, total = atoi(arguments[2]);
  for (int i = 0; i < total; i++) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      alarm(20); /* one that hangs is killed */
      _exit(live());
    }
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status);
    wrong += WIFEXITED(status) && WEXITSTATUS(status) != 0;
  }
  is_over = 1;
  int right = 0;
  for (int i = 0; i < 3; i++) {
    void *result;
    pthread_join(threads[i], &result);
    right += result == memories[i];
  }
  printf("%d forks: %d killed, %d wrong\n", total, killed, wrong);
  check(killed == 0, "no child dies or hangs");
  check(wrong == 0, "each has regions of its own, and none of its parent's");
  check(right == 3, "the parent's threads are answered as if there were no children");
  check(genpool_region_close(held) == 0, "the parent has them still");
  return conclusion();
}
