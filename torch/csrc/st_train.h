/* What training adds to a network: losses with gradients of the parameters, mixed precision, averaged weights. */
#ifndef SAT_TORCH_ST_TRAIN_H
#define SAT_TORCH_ST_TRAIN_H

#include "st_module.h"

#ifdef __cplusplus
extern "C" {
#endif

enum st_train_loss { ST_TRAIN_CROSS_ENTROPY, ST_TRAIN_BCE };
enum st_distillation { ST_DISTILL_NONE, ST_DISTILL_HARD, ST_DISTILL_SOFT };

typedef struct {
  int32_t kind;      /* of the first output; targets are int64 labels [N] (cross-entropy) or probabilities [N,K] */
  double smoothing;  /* of labels */
  double scale;      /* of the gradients, not of the losses returned */
  int32_t precision; /* dtype of autocast; ST_FLOAT32: none */

  /* The total is (1-alpha) * the above + alpha * the loss of the second output against the teacher's logits [N,K]. */
  int32_t distillation;
  const st_tensor* teacher;
  double alpha, tau;
} st_training_loss;

/* Adds the gradient of scale * mean loss to the parameters' gradients. losses: the total, and the distillation's part
 * before alpha. */
ST_API st_error st_module_backward(st_module* m, const st_tensor* x, const st_tensor* targets, st_normalisation norm,
                                   const st_training_loss* loss, double losses[2], st_tensor** logits);
/* For a network whose forward pass takes n tensors and returns what is to be minimised: one number, perhaps with others
 * after it. Adds the gradient of scale * the first to the parameters' gradients and writes all of them; `values` has
 * room for ST_MAX_OUTPUTS. */
ST_API st_error st_module_objective(st_module* m, const st_tensor* const* inputs, int32_t n, double scale,
                                    int32_t precision, double* values, int32_t* n_values);
/* A method of the network on n tensors, without gradients, in the network's mode. `outputs` has room for
 * ST_MAX_OUTPUTS. */
ST_API st_error st_module_call(st_module* m, const char* method, const st_tensor* const* inputs, int32_t n,
                               int32_t precision, st_tensor** outputs, int32_t* n_outputs);
/* Multiplies all gradients; finite is 0 when one of them is not finite afterwards. */
ST_API st_error st_module_scale_grad(st_module* m, double factor, int32_t* finite);
/* average = decay * average + (1 - decay) * m for every floating-point parameter and buffer; the others are copied. */
ST_API st_error st_module_average(st_module* average, const st_module* m, double decay);

#ifdef __cplusplus
}
#endif
#endif
