/* TorchScript networks: files, tensors by name, forward passes, gradients. */
#ifndef SAT_TORCH_ST_MODULE_H
#define SAT_TORCH_ST_MODULE_H

#include "st_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct st_module st_module;

/* Logits, and the attention maps of up to 63 layers. A list in the output counts as its elements. */
enum { ST_MAX_OUTPUTS = 64 };

/* The targeted ones, from ST_LOSS_TARGETED_DLR on, take a target class per image beside its label. */
enum st_loss { ST_LOSS_CROSS_ENTROPY, ST_LOSS_DLR, ST_LOSS_MARGIN, ST_LOSS_TARGETED_DLR, ST_LOSS_LOGIT_DIFFERENCE };

/* What queries pay to tokens p_1, ..., p_k in one layer. Paper: the sum over heads, queries and tokens. Code: the mean
   over queries of the logarithm of the mean over heads, for p_1 only. */
enum st_attention_form { ST_ATTENTION_CODE, ST_ATTENTION_PAPER };

/* (x - mean) / std per channel in front of the network; channels 0 leaves x as it is. */
typedef struct {
  const float* mean;
  const float* std;
  int32_t channels;
} st_normalisation;

/* In eval mode, no tensor requiring a gradient. */
ST_API st_error st_module_load(const char* path, st_device device, st_module** out);
/* Overwrites path. Names and contents of the n extra files lie in parallel arrays. */
ST_API st_error st_module_save(st_module* m, const char* path, const char* const* names, const uint8_t* const* contents,
                               const size_t* sizes, int32_t n);
ST_API st_error st_module_clone(const st_module* m, st_module** out);
ST_API void st_module_free(st_module* m);

/* {"Tensors": [{"Name", "Shape", "DType", "Buffer"}, ...]}: parameters, then buffers. */
ST_API st_error st_module_describe(const st_module* m, char** json);
/* A copy of a parameter or buffer, or of the gradient of a parameter. */
ST_API st_error st_module_get(const st_module* m, const char* name, int32_t gradient, st_tensor** out);
ST_API st_error st_module_set(st_module* m, const char* name, const st_tensor* value);
/* Train mode is refused for a network that has its mode baked in (traced or frozen). */
ST_API st_error st_module_train(st_module* m, int32_t on);
ST_API st_error st_module_requires_grad(st_module* m, int32_t on);
/* The n parameters named, and no others, get no gradient even while requires_grad is on. */
ST_API st_error st_module_freeze(st_module* m, const char* const* names, int32_t n);
/* Floating-point tensors are converted to dtype; the others keep their type. */
ST_API st_error st_module_to(st_module* m, st_device device, int32_t dtype);

/* Whether images and feature maps lie in memory pixel by pixel (NHWC) or channel by channel. Results round differently.
 */
ST_API st_error st_module_channels_last(st_module* m, int32_t on);
/* Makes a network in float32 on the CPU compute in dtype, float32 or bfloat16, with parameters that nothing can change
 * any more: normalisation becomes part of the convolution before it, and filters lie as the kernels read them. */
ST_API st_error st_module_lower(st_module* m, int32_t dtype);

/* Writes the outputs, or only the logits (the mean of two classifiers), and their number. `outputs` has room for
 * ST_MAX_OUTPUTS. */
ST_API st_error st_module_forward(st_module* m, const st_tensor* x, st_normalisation norm, int32_t first_only,
                                  st_tensor** outputs, int32_t* n_outputs);
/* Gradient of the summed loss w.r.t. x, logits [N,K], loss [N]. labels and, for a targeted loss, targets are [N] int64;
   for the other losses targets is null. */
ST_API st_error st_module_input_grad(st_module* m, const st_tensor* x, const st_tensor* labels,
                                     const st_tensor* targets, st_normalisation norm, int32_t loss_kind,
                                     st_tensor** grad, st_tensor** logits, st_tensor** loss);
/* Of a network that returns logits and one attention map [N,heads,T,T] per layer: logits, cross-entropy [N], and
   1 + n_layers gradients w.r.t. x, of the summed cross-entropy and of each layer's summed objective. tokens [N,k]
   int64. */
ST_API st_error st_module_attention_grad(st_module* m, const st_tensor* x, const st_tensor* labels,
                                         const st_tensor* tokens, st_normalisation norm, int32_t form,
                                         const int32_t* layers, int32_t n_layers, st_tensor** grads, st_tensor** logits,
                                         st_tensor** loss);
ST_API st_error st_module_zero_grad(st_module* m);
/* Scales all gradients by min(1, max/(norm + 1e-6)). A norm that is not finite is an error and scales nothing. */
ST_API st_error st_module_clip_grad_norm(st_module* m, double max, double* norm);

#ifdef __cplusplus
}
#endif
#endif
