/*
 * Clients on several threads, for the thread sanitizer: threads SOCKET. Half of the threads have a
 * client each, half share one under a lock, as the header asks for.
 */
#include "genpool_client.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 6, ROUNDS = 40 };
static const char *path;
static struct genpool_client *shared;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int count_lease(const struct genpool_client_facts *facts, void *context) {
  *(size_t *)context += strlen(facts->lease);
  return 0;
}

/* 0 when all went well. */
static int use(struct genpool_client *client) {
  struct genpool_client_request request;
  struct genpool_client_lease *lease;
  void *memory;
  size_t letters = 0;
  memset(&request, 0, sizeof request);
  request.size = sizeof request;
  request.bytes = 4096;
  request.wait = 20000;
  if (genpool_client_acquire(client, &request, &lease) || genpool_client_map(lease, &memory)) return 1;
  memset(memory, 0xa5, (size_t)genpool_client_lease_facts(lease)->size);
  return genpool_client_list(client, count_lease, &letters) || letters == 0 || genpool_client_release(lease);
}

static void *alone(void *context) {
  struct genpool_client *client = genpool_client_new(path, "alone");
  for (int i = 0; client && i < ROUNDS; i++) *(int *)context |= use(client);
  genpool_client_free(client);
  return NULL;
}

static void *together(void *context) {
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&lock);
    *(int *)context |= use(shared);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

int main(int count, char **arguments) {
  pthread_t threads[THREADS];
  int failures[THREADS] = {0}, failed = 0;
  if (count != 2) return 64;
  path = arguments[1];
  shared = genpool_client_new(path, "shared");
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, i % 2 ? alone : together, &failures[i])) return 1;
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    failed += failures[i];
  }
  genpool_client_free(shared);
  printf("%d threads of %d failed\n", failed, THREADS);
  return failed != 0;
}
