#define _GNU_SOURCE
#include "gd_fault_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "gd_guarded.h"

_Thread_local struct gd_attempt *volatile gd_current;

static struct sigaction previous;
static atomic_bool enabled;
static atomic_flag previous_was_called = ATOMIC_FLAG_INIT;
static int result;

/* Whether the signal is the answer to the access that this thread is making. */
static bool is_ours(const struct gd_attempt *attempt, const siginfo_t *info) {
  /* Only the kernel's answers to an access: kill() has codes <= 0, and BUS_MCEERR_AO announces
     poison that nobody has touched. */
  if (!attempt || info->si_code <= 0 || info->si_code == BUS_MCEERR_AO) return false;
  /* Poison is reported by its page, which may start before what we touch. */
  uintptr_t grain = info->si_code == BUS_MCEERR_AR ? (uintptr_t)1 << info->si_addr_lsb : 1;
  uintptr_t first = attempt->start & -grain;
  return (uintptr_t)info->si_addr - first < attempt->start - first + attempt->count;
}

/* Does what would have happened without us. */
static void chain(int signal, siginfo_t *info, void *context) {
  bool gone = (previous.sa_flags & SA_RESETHAND) && atomic_flag_test_and_set(&previous_was_called);
  bool from_access = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
  if (previous.sa_handler == SIG_IGN && !from_access) return;
  if (gone || previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    /* The kernel does not let an access fault be ignored either. Returning repeats the access, and
       so dies of it with the right registers in the core dump; a sent signal must be sent again. */
    struct sigaction standard;
    memset(&standard, 0, sizeof standard);
    standard.sa_handler = SIG_DFL;
    sigaction(signal, &standard, NULL);
    if (!from_access) raise(signal);
    return;
  }
  /* We run with nothing blocked (SA_NODEFER); it expects its own mask. Returning restores it. */
  sigset_t blocked = previous.sa_mask;
  if (!(previous.sa_flags & SA_NODEFER)) sigaddset(&blocked, signal);
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else {
    previous.sa_handler(signal);
  }
}

static void on_bus_error(int signal, siginfo_t *info, void *context) {
  int saved = errno;
  struct gd_attempt *attempt = gd_current;
  if (is_ours(attempt, info)) {
    uintptr_t address = (uintptr_t)info->si_addr;
    attempt->failed = address > attempt->start ? address - attempt->start : 0;
    siglongjmp(attempt->escape, 1);
  }
  chain(signal, info, context);
  errno = saved;
}

static void install(void) {
  struct sigaction ours;
  memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = on_bus_error;
  sigemptyset(&ours.sa_mask);
  /* SA_NODEFER: siglongjmp leaves the handler without returning, and SIGBUS must not stay blocked;
     it also spares sigsetjmp the system call that saves the mask. SA_ONSTACK and SA_RESTART for the
     handler before us, which may count on either. */
  ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART;
  /* Read first: our handler may run before the second call has returned the previous one. */
  if (sigaction(SIGBUS, NULL, &previous) || sigaction(SIGBUS, &ours, NULL)) {
    result = -errno;
    return;
  }
  atomic_store(&enabled, true);
}

/*
 * Once only: a second installation over a handler that chains to us would make the two call each
 * other for ever.
 */
int gd_fault_guard_enable(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install);
  return result;
}

bool gd_fault_guard_is_enabled(void) { return atomic_load(&enabled); }

/*
 * sigsetjmp returns twice, so nothing in this frame changes between its two returns: what the handler
 * reports is in `attempt`, whose address has escaped, and the accesses are in a callee. Without the
 * mask (0): see SA_NODEFER above.
 */
__attribute__((noinline)) int gd_guarded(const volatile void *start, size_t count,
                                         int (*access)(void *), void *argument, size_t *failed) {
  struct gd_attempt attempt;
  attempt.start = (uintptr_t)start;
  attempt.count = count;
  attempt.failed = 0;
  attempt.outer = gd_current;
  if (sigsetjmp(attempt.escape, 0)) {
    gd_current = attempt.outer;
    *failed = attempt.failed;
    return -EFAULT;
  }
  gd_current = &attempt;
  atomic_signal_fence(memory_order_seq_cst);
  int answer = access(argument);
  atomic_signal_fence(memory_order_seq_cst);
  gd_current = attempt.outer;
  return answer;
}
