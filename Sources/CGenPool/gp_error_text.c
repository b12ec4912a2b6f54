#include "gp_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM = 1024 };

/*
 * A pointer alone: the loader has little room for thread-local memory of libraries that are
 * loaded while a program runs. The thread's end frees the text.
 */
static _Thread_local char *error_text;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int has_key;

/* The destructor of another key may still fail a call, and set a text. */
static void end(void *text) {
  error_text = NULL;
  free(text);
}

static void make_key(void) { has_key = pthread_key_create(&key, end) == 0; }

void gp_set_error_text(const char *text) {
  if (!error_text) {
    pthread_once(&once, make_key);
    error_text = malloc(ROOM);
    if (!error_text) return;
    if (has_key) pthread_setspecific(key, error_text);
  }
  snprintf(error_text, ROOM, "%s", text);
}

const char *genpool_error_text(void) { return error_text ? error_text : ""; }
