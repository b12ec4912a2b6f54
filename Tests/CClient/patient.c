/* Calls a broker that does not behave: patient SOCKET COUNT TIMEOUT. Nothing may crash, leak or last. */
#include "genpool_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int look(const struct genpool_client_facts *facts, void *context) {
  /* Every text ends inside of its field. */
  *(size_t *)context += strlen(facts->lease) + strlen(facts->pool) + strlen(facts->caching) + strlen(facts->state);
  return 0;
}

int main(int count, char **arguments) {
  if (count != 4) return 64;
  size_t letters = 0;
  int leases = 0, events = 0;
  for (int i = 0; i < atoi(arguments[2]); i++) {
    struct genpool_client *client = genpool_client_new(arguments[1], i % 3 ? NULL : "patient");
    genpool_client_set_timeout(client, atoi(arguments[3]));
    struct genpool_client_request request;
    memset(&request, 0, sizeof request);
    request.size = sizeof request;
    request.bytes = 4096;
    struct genpool_client_lease *lease;
    if (genpool_client_acquire(client, &request, &lease) == 0) {
      void *memory;
      leases++;
      if (genpool_client_map(lease, &memory) == 0) letters += strlen(genpool_client_lease_facts(lease)->pool);
      if (i % 2) genpool_client_release(lease);
    } else {
      letters += strlen(genpool_client_last_error(client)->text) + strlen(genpool_client_last_error(client)->name);
    }
    genpool_client_list(client, look, &letters);
    struct genpool_client_monitor *monitor;
    struct genpool_client_event event;
    if (genpool_client_monitor_new(client, &monitor) == 0) {
      for (int patience = atoi(arguments[3]); genpool_client_monitor_next(monitor, &event, patience) == 0; patience = 30) {
        letters += strlen(event.cause) + strlen(event.event) + strlen(event.label);
        events++;
      }
      genpool_client_monitor_free(monitor);
    }
    genpool_client_free(client);
  }
  printf("%d leases, %d events, %zu letters\n", leases, events, letters);
  /* No descriptor is left open: the next one has the lowest number. */
  int descriptor = dup(0);
  return descriptor == 3 ? 0 : 1;
}
