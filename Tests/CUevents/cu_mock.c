#define _GNU_SOURCE
#include "cu_mock.h"

#include <dlfcn.h>
#include <stddef.h>

/* From umockdev.h and glib, without their headers: an opaque object, gboolean is int, gchar is char. */
struct testbed;

static struct {
  struct testbed *(*create)(void);
  int (*add)(struct testbed *, const char *record, void **error);
  void (*tell)(struct testbed *, const char *path, const char *action);
  void (*remove)(struct testbed *, const char *path);
  void (*unref)(void *);
} library;

static struct testbed *testbed;

static bool load(void) {
  if (library.create) return true;
  void *handle = dlopen("libumockdev.so.0", RTLD_NOW);
  if (!handle) return false;
#define FIND(field, name) (*(void **)&library.field = dlsym(handle, name))
  return FIND(add, "umockdev_testbed_add_from_string") && FIND(tell, "umockdev_testbed_uevent") &&
         FIND(remove, "umockdev_testbed_remove_device") && FIND(unref, "g_object_unref") &&
         FIND(create, "umockdev_testbed_new");
}

bool cu_mock_is_possible(void) {
  /* What the wrapper preloads. umockdev_in_mock_environment says no before there is a testbed. */
  void *preloaded = dlopen("libumockdev-preload.so.0", RTLD_NOW | RTLD_NOLOAD);
  if (preloaded) dlclose(preloaded);
  return preloaded && load();
}

bool cu_mock_begin(void) {
  if (!cu_mock_is_possible() || testbed) return false;
  testbed = library.create();
  return testbed != NULL;
}

void cu_mock_end(void) {
  if (testbed) library.unref(testbed);
  testbed = NULL;
}

bool cu_mock_add(const char *record) { return library.add(testbed, record, NULL); }

void cu_mock_tell(const char *path, const char *action) { library.tell(testbed, path, action); }

void cu_mock_remove(const char *path) { library.remove(testbed, path); }
