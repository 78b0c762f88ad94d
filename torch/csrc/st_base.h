/*
 * Border between Go and libtorch: errors, versions, process-wide settings, devices, random generators.
 *
 * Rules of every header st_*.h: plain C; handles are opaque; a call that can go wrong returns its error by value and
 * writes its out-parameters only on success; every handle kind has one _free, which accepts NULL. No state of a thread
 * (gradient mode, device, stream) survives a call.
 */
#ifndef SAT_TORCH_ST_BASE_H
#define SAT_TORCH_ST_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ST_API __attribute__((visibility("default")))

/* Changes with every change of these headers; Go refuses to start with another value. */
#define ST_ABI_VERSION 8

enum st_code {
  ST_OK = 0,
  ST_TORCH = 1,   /* libtorch refused the call */
  ST_OOM = 2,     /* out of host or device memory */
  ST_NO_CUDA = 3, /* a CUDA device was asked for and none is usable */
  ST_INVALID = 4, /* a null handle or an argument out of range */
  ST_OTHER = 5,   /* any other C++ exception */
};

/* The caller frees msg with st_string_free. It is NULL on success, and when there was no memory for the text. */
typedef struct {
  int32_t code;
  char* msg;
} st_error;

/* Owned by the caller, who frees it with st_bytes_free. */
typedef struct {
  uint8_t* data;
  size_t len;
} st_bytes;

typedef struct {
  int32_t type; /* 0 CPU, 1 CUDA */
  int32_t index;
} st_device;

typedef struct {
  int64_t allocated, reserved, peak_allocated, free_bytes, total_bytes;
} st_memory;

ST_API int32_t st_abi_version(void);
ST_API const char* st_torch_build_version(void); /* of the headers this library was compiled with */
ST_API const char* st_torch_version(void);       /* of the libtorch that was loaded */

ST_API void st_string_free(char* s);
ST_API void st_bytes_free(st_bytes b);

/* Number of tensors, modules and optimisers that exist. */
ST_API int64_t st_live_handles(void);

/* Once per process, before anything that computes: intra-op threads, JIT optimisers off, repeatable kernels. */
ST_API st_error st_init(int32_t threads);

/* A JSON object with the fields of Go's torch.Info that only C++ knows. */
ST_API st_error st_describe(char** json);

/* Loads libtorch_cuda and starts CUDA. Signal handlers are as before afterwards. ST_NO_CUDA without a device. */
ST_API st_error st_cuda_load(void);
/* Lets CUDA round the factors of float32 products and convolutions to TensorFloat-32 (10 bits). Off after st_init. */
ST_API st_error st_allow_tf32(int32_t on);
ST_API st_error st_cuda_memory(int32_t index, st_memory* out);
ST_API st_error st_cuda_empty_cache(int32_t index);
ST_API st_error st_cuda_synchronize(int32_t index);

/* Returns free heap pages of the C library to the system. */
ST_API void st_malloc_trim(void);

/* libtorch's own generators: the CPU's and, once CUDA is loaded, those of its devices. */
ST_API st_error st_manual_seed(uint64_t seed);
ST_API st_error st_generator_state(st_bytes* out);
ST_API st_error st_set_generator_state(const uint8_t* data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
