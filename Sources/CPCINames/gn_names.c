#include "gn_names.h"

#include <pci/pci.h>
#include <setjmp.h>
#include <stdarg.h>

/* libpci's struct, under a name that keeps <pci/pci.h> out of our header. */
static struct pci_access *libpci(struct gn_names *names) { return (struct pci_access *)names; }

/* Where the error hook goes: the hook is handed nothing that would tell it. */
static _Thread_local jmp_buf *escape;

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(char *message, ...) {
  (void)message; /* names are a courtesy: that they are missing is all there is to say */
  longjmp(*escape, 1);
}

__attribute__((format(printf, 1, 2))) static void ignore(char *message, ...) { (void)message; }

/*
 * setjmp returns twice, so the frames below change nothing between its two returns. After a longjmp
 * the struct is leaked: whatever libpci was doing to it is half done, and it happens once.
 */
struct gn_names *gn_open(const char *path) {
  jmp_buf here;
  struct pci_access *const access = pci_alloc();
  access->error = give_up;
  access->warning = ignore;
  access->debug = ignore;
  /* The default consults ~/.cache/pci-ids, which is anybody's to write. */
  access->id_lookup_mode = 0;
  if (path) pci_set_name_list_path(access, (char *)path, 0);
  escape = &here;
  if (setjmp(here)) return NULL;
  bool loaded = pci_load_name_list(access);
  /* The path is the caller's and ends with this call; a pci.ids.gz may have replaced it. */
  pci_set_name_list_path(access, "", 0);
  if (loaded) return (struct gn_names *)access;
  pci_cleanup(access);
  return NULL;
}

void gn_close(struct gn_names *names) {
  jmp_buf here;
  escape = &here;
  if (setjmp(here)) return;
  pci_cleanup(libpci(names));
}

/* NO_NUMBERS: nothing rather than "Device 1234". NO_HWDB: the daemon's sandbox may hide udev's files. */
enum { only_names = PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB };

static bool look_up(struct gn_names *names, char *name, size_t size, int what, int first,
                    int second) {
  jmp_buf here;
  escape = &here;
  if (setjmp(here)) return false;
  /* A name that does not fit comes back as a text of libpci's own. */
  return pci_lookup_name(libpci(names), name, (int)size, what | only_names, first, second) == name;
}

bool gn_vendor_name(struct gn_names *names, uint16_t vendor, char *name, size_t size) {
  return look_up(names, name, size, PCI_LOOKUP_VENDOR, vendor, 0);
}

bool gn_device_name(struct gn_names *names, uint16_t vendor, uint16_t device, char *name,
                    size_t size) {
  return look_up(names, name, size, PCI_LOOKUP_VENDOR | PCI_LOOKUP_DEVICE, vendor, device);
}

bool gn_class_name(struct gn_names *names, uint16_t class_and_subclass, char *name, size_t size) {
  return look_up(names, name, size, PCI_LOOKUP_CLASS, class_and_subclass, 0);
}
