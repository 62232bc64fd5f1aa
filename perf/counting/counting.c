// Counts what a process allocates, frees and locks, by thread, while it runs; loaded with LD_PRELOAD.
//
// COUNTING_PAGE names a file that the counters are mapped from: whoever reads it at two moments knows what happened between
// them. Callers inside libssl and libcrypto are counted apart from all others. Not seen: locks taken without calling
// pthreads, such as Swift's Mutex, which is an atomic operation while nobody waits and a futex(2) call when somebody does.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { ALLOCATE, FREE, LOCK, KINDS };
enum origin { OPENSSL, PROGRAM, ORIGINS };
enum { SLOTS = 1024, RANGES = 16 };

// One thread's counters; read by others while it writes, so each is a whole word. Known to Benchmarks/counters.py.
struct slot {
  uint64_t thread;
  uint64_t counts[KINDS][ORIGINS];
};

static struct slot *slots;
static atomic_uint slots_taken;
static __thread struct slot *mine __attribute__((tls_model("initial-exec")));
static struct { uintptr_t start, end; } openssl[RANGES];
static int openssl_count;

static int note_library(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size, (void)unused;
  if (strstr(info->dlpi_name, "libssl") == NULL && strstr(info->dlpi_name, "libcrypto") == NULL) return 0;
  for (int index = 0; index < info->dlpi_phnum; index++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[index];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || openssl_count == RANGES) continue;
    openssl[openssl_count].start = info->dlpi_addr + part->p_vaddr;
    openssl[openssl_count].end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
    openssl_count += 1;
  }
  return 0;
}

__attribute__((constructor)) static void map_page(void) {
  const char *name = getenv("COUNTING_PAGE");
  if (name == NULL) return;
  int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  size_t size = SLOTS * sizeof(struct slot);
  void *page = file < 0 || ftruncate(file, (off_t)size) != 0
                   ? MAP_FAILED
                   : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) {
    fprintf(stderr, "COUNTING_PAGE: %s: %s\n", name, strerror(errno));
    _exit(1);
  }
  dl_iterate_phdr(note_library, NULL);
  slots = page;
}

static inline void count(enum kind kind, void *caller) {
  if (slots == NULL) return;
  if (mine == NULL) {
    unsigned index = atomic_fetch_add(&slots_taken, 1);
    // Whoever comes late shares the last one; its counts are then too low rather than lost.
    mine = &slots[index < SLOTS ? index : SLOTS - 1];
    mine->thread = (uint64_t)syscall(SYS_gettid);
  }
  enum origin origin = PROGRAM;
  for (int index = 0; index < openssl_count; index++)
    if ((uintptr_t)caller >= openssl[index].start && (uintptr_t)caller < openssl[index].end) origin = OPENSSL;
  __atomic_store_n(&mine->counts[kind][origin], mine->counts[kind][origin] + 1, __ATOMIC_RELAXED);
}

#define COUNT(kind) count(kind, __builtin_return_address(0))

// MARK: Memory. glibc offers its own functions under second names.

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), __libc_free(void *);

void *malloc(size_t size) {
  COUNT(ALLOCATE);
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  COUNT(ALLOCATE);
  return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  COUNT(ALLOCATE);
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  COUNT(ALLOCATE);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  COUNT(ALLOCATE);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
  COUNT(ALLOCATE);
  if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  void *block = __libc_memalign(alignment, size);
  if (block == NULL) return ENOMEM;
  *result = block;
  return 0;
}

void free(void *block) {
  if (block == NULL) return;
  COUNT(FREE);
  __libc_free(block);
}

// MARK: Locks

extern int __pthread_mutex_lock(pthread_mutex_t *), __pthread_mutex_trylock(pthread_mutex_t *);
extern int __pthread_rwlock_rdlock(pthread_rwlock_t *), __pthread_rwlock_wrlock(pthread_rwlock_t *);

int pthread_mutex_lock(pthread_mutex_t *lock) {
  COUNT(LOCK);
  return __pthread_mutex_lock(lock);
}

int pthread_mutex_trylock(pthread_mutex_t *lock) {
  COUNT(LOCK);
  return __pthread_mutex_trylock(lock);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
  COUNT(LOCK);
  return __pthread_rwlock_rdlock(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
  COUNT(LOCK);
  return __pthread_rwlock_wrlock(lock);
}
