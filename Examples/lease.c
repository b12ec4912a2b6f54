/*
 * Leases device memory from genpoold, writes to it and reads back: lease [POOL].
 * cc lease.c $(pkg-config --cflags --libs genpool-client)
 */
#include <genpool_client.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **arguments) {
  struct genpool_client *client = genpool_client_new(NULL, "lease example");
  struct genpool_client_request request = {.size = sizeof request, .bytes = 1 << 20, .wait = 5000};
  struct genpool_client_lease *lease;
  void *memory;
  if (!client) return 1;
  request.pool = count > 1 ? arguments[1] : NULL;
  if (genpool_client_acquire(client, &request, &lease) != 0 || genpool_client_map(lease, &memory) != 0) {
    fprintf(stderr, "%s\n", genpool_client_last_error(client)->text);
    genpool_client_free(client);
    return 1;
  }
  const struct genpool_client_facts *facts = genpool_client_lease_facts(lease);
  strcpy(memory, "genpool");
  printf("%" PRIu64 " bytes of pool %s", facts->size, facts->pool);
  if (facts->bus != GENPOOL_CLIENT_UNKNOWN) printf(", bus 0x%016" PRIx64, facts->bus);
  printf(": %s\n", (const char *)memory);
  int result = genpool_client_release(lease);
  genpool_client_free(client); /* which would have released it as well */
  return result != 0;
}
