/* Optimisers over named parameters of one module. */
#ifndef SAT_TORCH_ST_OPTIMIZER_H
#define SAT_TORCH_ST_OPTIMIZER_H

#include "st_module.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct st_optimizer st_optimizer;

enum st_optimizer_kind { ST_SGD, ST_ADAMW, ST_LAMB, ST_RMSPROP };

typedef struct {
  const char* const* names; /* of parameters */
  int32_t n;
  double weight_decay;
  double lr_scale;
} st_group;

typedef struct {
  int32_t kind;
  double momentum;          /* SGD, RMSProp */
  int32_t nesterov;         /* SGD */
  double beta1, beta2, eps; /* AdamW, LAMB; RMSProp: beta2 averages the squares */
  const st_group* groups;
  int32_t n_groups;
} st_optimizer_config;

ST_API st_error st_optimizer_new(const st_module* m, const st_optimizer_config* config, st_optimizer** out);
ST_API void st_optimizer_free(st_optimizer* o);
/* Parameters without a gradient stay as they are. */
ST_API st_error st_optimizer_step(st_optimizer* o, double lr);
/* Exact moments and step counts; a state of another configuration is refused and changes nothing. */
ST_API st_error st_optimizer_state(const st_optimizer* o, st_bytes* out);
ST_API st_error st_optimizer_set_state(st_optimizer* o, const uint8_t* data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
