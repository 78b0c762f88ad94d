/* Tensors: creation, copies in and out, arithmetic, losses, image operations. Gradients are never recorded here. */
#ifndef SAT_TORCH_ST_TENSOR_H
#define SAT_TORCH_ST_TENSOR_H

#include "st_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct st_tensor st_tensor;

enum { ST_MAX_DIMS = 16 };

enum st_dtype { ST_FLOAT32, ST_FLOAT64, ST_BFLOAT16, ST_FLOAT16, ST_INT64, ST_INT32, ST_UINT8, ST_BOOL };
enum st_reduction { ST_REDUCE_NONE, ST_REDUCE_MEAN, ST_REDUCE_SUM };
enum st_interpolation { ST_NEAREST, ST_BILINEAR, ST_BICUBIC };
enum st_unary_op { ST_SIGN, ST_ABS, ST_SQRT, ST_EXP, ST_LOG };
enum st_binary_op { ST_ADD, ST_SUB, ST_MUL, ST_DIV };
enum st_reduce_op { ST_SUM, ST_MEAN, ST_MAX, ST_NORM };

typedef struct {
  int32_t dtype;
  st_device device;
  int32_t dims;
  int64_t shape[ST_MAX_DIMS];
} st_tensor_info;

ST_API void st_tensor_free(st_tensor* t);

/* Copies `bytes` bytes of row-major data into a new CPU tensor; the size must match. data may be NULL without elements.
 */
ST_API st_error st_tensor_from_data(const void* data, size_t bytes, int32_t dtype, const int64_t* shape, int32_t dims,
                                    st_tensor** out);
ST_API st_error st_tensor_full(double value, int32_t dtype, const int64_t* shape, int32_t dims, st_tensor** out);

/* Copies t, whose type must be dtype, to dst in row-major order; `bytes` must be its exact size. */
ST_API st_error st_tensor_copy_out(const st_tensor* t, int32_t dtype, void* dst, size_t bytes);
ST_API st_error st_tensor_get_info(const st_tensor* t, st_tensor_info* out);
ST_API st_error st_tensor_item(const st_tensor* t, double* out);
ST_API st_error st_tensor_has_non_finite(const st_tensor* t, int32_t* out);
ST_API st_error st_tensor_assign(st_tensor* dst, const st_tensor* src);
ST_API st_error st_tensor_clone(const st_tensor* t, st_tensor** out);
ST_API st_error st_tensor_to_dtype(const st_tensor* t, int32_t dtype, st_tensor** out);
ST_API st_error st_tensor_to_device(const st_tensor* t, st_device device, st_tensor** out);

ST_API st_error st_unary(int32_t op, const st_tensor* t, st_tensor** out);
ST_API st_error st_binary(int32_t op, const st_tensor* a, const st_tensor* b, st_tensor** out);
ST_API st_error st_binary_scalar(int32_t op, const st_tensor* t, double v, st_tensor** out);
ST_API st_error st_clamp(const st_tensor* t, double lo, double hi, st_tensor** out);
/* Over n_dims dimensions, which disappear; over all of them when n_dims is 0. */
ST_API st_error st_reduce(int32_t op, const st_tensor* t, const int64_t* dims, int32_t n_dims, st_tensor** out);
ST_API st_error st_argmax(const st_tensor* t, int64_t dim, st_tensor** out);
ST_API st_error st_softmax(const st_tensor* t, int64_t dim, int32_t logarithm, st_tensor** out);
ST_API st_error st_matmul(const st_tensor* a, const st_tensor* b, st_tensor** out);

ST_API st_error st_reshape(const st_tensor* t, const int64_t* shape, int32_t dims, st_tensor** out);
ST_API st_error st_permute(const st_tensor* t, const int64_t* dims, int32_t n_dims, st_tensor** out);
ST_API st_error st_slice(const st_tensor* t, int64_t dim, int64_t from, int64_t to, st_tensor** out);
ST_API st_error st_cat(st_tensor* const* ts, int32_t n, int64_t dim, st_tensor** out);
ST_API st_error st_flip(const st_tensor* t, const int64_t* dims, int32_t n_dims, st_tensor** out);
ST_API st_error st_index_rows(const st_tensor* t, const st_tensor* rows, st_tensor** out);
/* Image i moves by dys[i] rows down and dxs[i] columns right; n must be the batch size. */
ST_API st_error st_shift(const st_tensor* t, const int64_t* dys, const int64_t* dxs, int64_t n, st_tensor** out);
ST_API st_error st_interpolate(const st_tensor* t, int64_t h, int64_t w, int32_t mode, int32_t antialias,
                               st_tensor** out);

/* targets: labels [N] int64, or probabilities [N,K] like the logits. */
ST_API st_error st_cross_entropy(const st_tensor* logits, const st_tensor* targets, int32_t reduction, double smoothing,
                                 st_tensor** out);
ST_API st_error st_bce_with_logits(const st_tensor* logits, const st_tensor* targets, int32_t reduction,
                                   st_tensor** out);
ST_API st_error st_kl_div(const st_tensor* input, const st_tensor* target, int32_t reduction, st_tensor** out);

#ifdef __cplusplus
}
#endif
#endif
