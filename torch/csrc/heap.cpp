// The memory that tensors lie in: the C library's heap.
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <string>

#include "internal.hpp"

namespace sat {

namespace {

constexpr uintptr_t huge_page = 2 << 20;

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1; older headers lack it
#endif

// The administrator may have forbidden huge pages, which MADV_COLLAPSE would not heed.
bool huge_pages_allowed() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  return std::getline(file, modes) && modes.find("[never]") == std::string::npos;
}

uintptr_t heap_end() { return reinterpret_cast<uintptr_t>(sbrk(0)); }

// keep_memory makes the C library keep the memory of freed tensors for the next ones. By default it maps and unmaps
// every large tensor, and the kernel then clears each page again: input gradients of a ResNet-18 at 224 pixels faulted
// 260,000 pages per batch of 32 and took 25 % longer (10 % for a batch of 8). A worker's thread would get an arena of
// 64 MiB pieces, too small for such tensors, so there is one arena for all; no code here allocates often enough for its
// lock to matter. The price is a resident size that stays at its peak until st_malloc_trim or st_module_free. It runs
// when the library is loaded because the number of arenas is fixed when the first thread asks for one.
__attribute__((constructor)) void keep_memory() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace

void heap_in_huge_pages() {
  static std::atomic<uintptr_t> known{heap_end()};
  const uintptr_t end = heap_end();
  if (end == known.load(std::memory_order_relaxed)) return;
  const uintptr_t before = known.exchange(end);  // who exchanges has this stretch to himself
  static const bool allowed = huge_pages_allowed();
  const uintptr_t from = (before + huge_page - 1) & ~(huge_page - 1), to = end & ~(huge_page - 1);
  if (!allowed || from >= to) return;
  // What comes of it is no error: the kernel may be older, or out of huge pages.
  void* const start = reinterpret_cast<void*>(from);
  if (madvise(start, to - from, MADV_HUGEPAGE) == 0) madvise(start, to - from, MADV_COLLAPSE);
}

}  // namespace sat

using namespace sat;

void st_malloc_trim() {
  guarded_free([] { malloc_trim(0); });
}
