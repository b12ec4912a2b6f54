/*
 * Replays golden traces (Tests/Traces/golden/FORMAT.md) through the C ABI: every answer must be the
 * kernel's. Prints "RECORDS records, N differ, N refused, N set aside" for all files given.
 *
 * Refused on purpose, as genpool(7) says: chunks at address 0, overlapping chunks, ranges that wrap.
 * Where the pool cannot follow the trace from there on, the rest of that pool's records is set aside.
 */
#include <inttypes.h>
#include <linux/genalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 1 << 20 };

static struct gen_pool *pool;
static struct {
  unsigned long addr;
  size_t size;
} allocations[MOST_IDS];
static int bugs;
static unsigned warnings;
static unsigned long records, differing, refused, set_aside;

static void count_misuse(int fatal, const char *message, void *context) {
  (void)message, (void)context;
  if (fatal) bugs++;
  else warnings++;
}

/* An algorithm and its data, as a token says. */
struct algorithm {
  genpool_algo_t function;
  void *data;
  struct genpool_data_align align;
  struct genpool_data_fixed fixed;
};

static void parse_algorithm(const char *token, struct algorithm *into) {
  into->data = NULL;
  if (!strcmp(token, "ff")) into->function = gen_pool_first_fit;
  else if (!strcmp(token, "oa")) into->function = gen_pool_first_fit_order_align;
  else if (!strcmp(token, "bf")) into->function = gen_pool_best_fit;
  else if (!strncmp(token, "al:", 3)) {
    into->function = gen_pool_first_fit_align;
    into->align.align = (int)strtoul(token + 3, NULL, 16);
    into->data = &into->align;
  } else if (!strncmp(token, "fx:", 3)) {
    into->function = gen_pool_fixed_alloc;
    into->fixed.offset = strtoul(token + 3, NULL, 16);
    into->data = &into->fixed;
  } else into->function = NULL; /* n */
}

/* ---- What is asked of every chunk --------------------------------------------------------- */

struct text {
  char bytes[1 << 14];
  size_t length;
};

static size_t granules(const struct gen_pool *of, const struct gen_pool_chunk *chunk) {
  return (chunk->end_addr - chunk->start_addr + 1) >> of->min_alloc_order;
}

static int is_allocated(const struct gen_pool_chunk *chunk, size_t index) {
  return (int)(chunk->bits[index / 64] >> (index % 64) & 1);
}

static void print_chunk(struct gen_pool *of, struct gen_pool_chunk *chunk, void *data) {
  struct text *text = data;
  (void)of;
  text->length += (size_t)snprintf(
      text->bytes + text->length, sizeof text->bytes - text->length, "%s%lx:%lx:%" PRIx64 ":%lx:%lx",
      text->length ? " " : "", chunk->start_addr, chunk->end_addr, chunk->phys_addr,
      (unsigned long)atomic_long_read(&chunk->avail), (unsigned long)chunk->owner);
}

struct fingerprint {
  uint64_t runs, largest, hash;
};

static void mix(struct fingerprint *into, uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8)
    into->hash = (into->hash ^ (value >> shift & 0xff)) * UINT64_C(0x100000001b3);
}

static void add_chunk_to_fingerprint(struct gen_pool *of, struct gen_pool_chunk *chunk, void *data) {
  struct fingerprint *into = data;
  size_t limit = granules(of, chunk), index = 0;
  mix(into, limit);
  while (index < limit) {
    size_t start = index;
    while (index < limit && !is_allocated(chunk, index)) index++;
    if (index > start) {
      into->runs++;
      if (index - start > into->largest) into->largest = index - start;
      mix(into, start);
      mix(into, index - start);
    }
    while (index < limit && is_allocated(chunk, index)) index++;
  }
}

/* In a function that for_each_chunk calls, as the kernel allows. */
static void empty_chunk(struct gen_pool *of, struct gen_pool_chunk *chunk, void *data) {
  (void)data;
  for (size_t index = 0; index < granules(of, chunk); index++)
    if (is_allocated(chunk, index))
      gen_pool_free(of, chunk->start_addr + (index << of->min_alloc_order), 1);
}

static void drop_pool(void) {
  if (!pool) return;
  gen_pool_for_each_chunk(pool, empty_chunk, NULL);
  gen_pool_destroy(pool);
  pool = NULL;
}

/* ---- Records ------------------------------------------------------------------------------ */

/* What became of a record: an answer, or a refusal, after which the pool can follow the trace or not. */
enum outcome { ANSWER, REFUSED, REFUSED_FOR_GOOD };

static void remember(unsigned long id, unsigned long addr, size_t size) {
  if (id >= MOST_IDS) abort();
  allocations[id].addr = addr;
  allocations[id].size = size;
}

static void answer_free(unsigned long addr, size_t size, char *got) {
  void *owner = &bugs;
  bugs = 0;
  gen_pool_free_owner(pool, addr, size, &owner);
  if (bugs) strcpy(got, "BUG");
  else sprintf(got, "%lx", (unsigned long)owner);
}

static void answer_place(char **field, char *got) {
  struct algorithm algorithm;
  struct gen_pool shape = {0};
  unsigned long map[4] = {0}, number[5];
  parse_algorithm(field[0], &algorithm);
  for (int i = 0; i < 5; i++) number[i] = strtoul(field[1 + i], NULL, 16);
  char *word = strtok(field[6], ":");
  for (int i = 0; i < 4 && word; i++, word = strtok(NULL, ":")) map[i] = strtoul(word, NULL, 16);
  shape.min_alloc_order = (int)number[0];
  unsigned long index = algorithm.function(map, number[2], number[3], (unsigned)number[4],
                                           algorithm.data, &shape, number[1]);
  if (index >= number[2]) strcpy(got, "-");
  else sprintf(got, "%lx", index);
}

static enum outcome replay(char **field, const char *wanted, char *got) {
  static struct algorithm pool_algorithm;
  struct algorithm algorithm;
  unsigned long number[5] = {0};
  char operation = field[0][0];
  for (int i = 0; i < 4 && field[1 + i]; i++) number[i] = strtoul(field[1 + i], NULL, 16);
  void *owner = NULL;
  dma_addr_t dma = 0;
  unsigned long addr;
  switch (operation) {
  case 'P':
    drop_pool();
    warnings = 0;
    pool = gen_pool_create((int)number[0], NUMA_NO_NODE);
    return ANSWER;
  case 'C': {
    phys_addr_t phys = field[2][0] == '-' ? ~(phys_addr_t)0 : number[1];
    int error = number[3] ? gen_pool_add_owner(pool, number[0], phys, number[2], -1, (void *)number[3])
                          : gen_pool_add_virt(pool, number[0], phys, number[2], -1);
    if (error == -17 || error == -22) return REFUSED_FOR_GOOD;
    sprintf(got, "%x", (unsigned)error);
    return ANSWER;
  }
  case 'S':
    parse_algorithm(field[1], &pool_algorithm);
    gen_pool_set_algo(pool, pool_algorithm.function, pool_algorithm.data);
    return ANSWER;
  case 'A':
    addr = gen_pool_alloc_owner(pool, number[1], &owner);
    remember(number[0], addr, number[1]);
    sprintf(got, "%lx %lx", addr, (unsigned long)owner);
    return ANSWER;
  case 'G':
    parse_algorithm(field[3], &algorithm);
    addr = gen_pool_alloc_algo_owner(pool, number[1], algorithm.function, algorithm.data, &owner);
    remember(number[0], addr, number[1]);
    sprintf(got, "%lx %lx", addr, (unsigned long)owner);
    return ANSWER;
  case 'D':
  case 'E':
  case 'L':
    if (operation == 'D') addr = (unsigned long)gen_pool_dma_alloc(pool, number[1], &dma);
    else if (operation == 'L')
      addr = (unsigned long)gen_pool_dma_alloc_align(pool, number[1], &dma, (int)number[2]);
    else {
      parse_algorithm(field[3], &algorithm);
      addr = (unsigned long)gen_pool_dma_alloc_algo(pool, number[1], &dma, algorithm.function,
                                                    algorithm.data);
    }
    remember(number[0], addr, number[1]);
    if (addr) sprintf(got, "%lx %" PRIx64, addr, dma);
    else strcpy(got, "0 -");
    return ANSWER;
  case 'F':
    answer_free(allocations[number[0]].addr, allocations[number[0]].size, got);
    return ANSWER;
  case 'R':
    answer_free(number[0], number[1], got);
    if (!strcmp(got, "BUG") && strcmp(wanted, "BUG") && number[0] + number[1] < number[0])
      return REFUSED;
    return ANSWER;
  case 'U':
    bugs = 0;
    for (unsigned long i = 0; i < number[3]; i++)
      gen_pool_free(pool, number[0] + i * number[2], number[1]);
    strcpy(got, bugs ? "BUG" : "ok");
    return ANSWER;
  case 'H':
    sprintf(got, "%d", gen_pool_has_addr(pool, number[0], number[1]));
    if (strcmp(got, wanted) && number[0] + number[1] < number[0]) return REFUSED;
    return ANSWER;
  case 'Y':
    sprintf(got, "%" PRIx64, gen_pool_virt_to_phys(pool, number[0]));
    return ANSWER;
  case 'V':
    sprintf(got, "%zx", gen_pool_avail(pool));
    return ANSWER;
  case 'Z':
    sprintf(got, "%zx", gen_pool_size(pool));
    return ANSWER;
  case 'K': {
    struct text text = {.length = 0};
    gen_pool_for_each_chunk(pool, print_chunk, &text);
    strcpy(got, text.bytes);
    return ANSWER;
  }
  case 'Q': {
    struct fingerprint print = {0, 0, UINT64_C(0xcbf29ce484222325)};
    gen_pool_for_each_chunk(pool, add_chunk_to_fingerprint, &print);
    sprintf(got, "%" PRIx64 " %" PRIx64 " %" PRIx64, print.runs, print.largest, print.hash);
    return ANSWER;
  }
  case 'W':
    sprintf(got, "%x", warnings);
    return ANSWER;
  case 'X':
    bugs = 0;
    gen_pool_destroy(pool);
    strcpy(got, bugs ? "BUG" : "ok");
    if (!bugs) pool = NULL;
    return ANSWER;
  case 'B':
    answer_place(field + 1, got);
    return ANSWER;
  default:
    strcpy(got, "no such record");
    return ANSWER;
  }
}

static void replay_file(const char *path) {
  static char line[1 << 14], copy[1 << 14], got[1 << 14];
  FILE *file = fopen(path, "r");
  int is_set_aside = 0;
  if (!file || !fgets(line, sizeof line, file) || strncmp(line, "GENPOOL-TRACE 1 ", 16)) {
    fprintf(stderr, "%s: no trace\n", path);
    exit(2);
  }
  for (unsigned number = 2; fgets(line, sizeof line, file); number++) {
    line[strcspn(line, "\n")] = 0;
    if (!line[0] || line[0] == '#') continue;
    strcpy(copy, line);
    char *equals = strstr(line, " =");
    const char *wanted = !equals ? "" : equals[2] ? equals + 3 : "";
    if (equals) *equals = 0;
    char *field[10] = {0};
    int count = 0;
    for (char *word = strtok(line, " "); word && count < 9; word = strtok(NULL, " ")) field[count++] = word;
    records++;
    if (field[0][0] == 'P') is_set_aside = 0;
    if (is_set_aside) {
      set_aside++;
      continue;
    }
    got[0] = 0;
    enum outcome outcome = replay(field, wanted, got);
    if (outcome != ANSWER) {
      refused++;
      is_set_aside = outcome == REFUSED_FOR_GOOD;
    } else if (strcmp(got, wanted)) {
      if (differing++ < 10) fprintf(stderr, "%s:%u: %s: got %s\n", path, number, copy, got);
    }
  }
  fclose(file);
  drop_pool();
}

int main(int count, char **paths) {
  genpool_set_misuse_handler(count_misuse, NULL);
  for (int i = 1; i < count; i++) replay_file(paths[i]);
  printf("%lu records, %lu differ, %lu refused, %lu set aside\n", records, differing, refused, set_aside);
  return differing != 0;
}
