/* The inner loop of a signed-gradient attack, with the images kept where the network computes. */
#ifndef SAT_TORCH_ST_ATTACK_H
#define SAT_TORCH_ST_ATTACK_H

#include "st_module.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct st_sign_attack st_sign_attack;

typedef struct {
  int32_t loss_kind; /* of st_loss, one without targets */
  double step_size, epsilon;
  int32_t descend;       /* 1: make the loss smaller */
  int32_t capture;       /* 1: on CUDA, capture the step as a graph and replay it; elsewhere ignored */
  int32_t by_operations; /* 1: use libtorch's operations for the arithmetic on the CPU too, as on CUDA; for tests */
} st_sign_options;

/* What st_sign_attack_step says of an image. */
enum st_sign_verdict { ST_SIGN_MOVES = 1, ST_SIGN_NOT_FINITE = 2 };

/* Copies the float32 images. The module must outlive the attack and must not change while it lives. */
ST_API st_error st_sign_attack_new(st_module* m, const st_tensor* clean, const st_tensor* start,
                                   const st_tensor* labels, st_normalisation norm, st_sign_options options,
                                   st_sign_attack** out);
/* With g the gradient of the summed loss at the images x_t, replaces them by
       clamp(clean + clamp(x_t + step_size * sign(g) - clean, -epsilon, epsilon), 0, 1),
   each operation rounded to float32. Hands out, on the CPU, the logits [N,K] at x_t and, as int32 [N], whether any
   entry of an image's gradient is not 0 (ST_SIGN_MOVES) and whether any is not finite (ST_SIGN_NOT_FINITE). */
ST_API st_error st_sign_attack_step(st_sign_attack* a, st_tensor** logits, st_tensor** verdicts);
/* A copy of the images as they are now, on the CPU. */
ST_API st_error st_sign_attack_images(const st_sign_attack* a, st_tensor** out);
ST_API void st_sign_attack_free(st_sign_attack* a);

#ifdef __cplusplus
}
#endif
#endif
