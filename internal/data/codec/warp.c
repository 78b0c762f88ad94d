#include "warp.h"

#include <math.h>
#include <string.h>

/* Products and sums must round one by one, as Pillow's do on processors without fused operations. */
#pragma GCC optimize("O3", "fp-contract=off")

#if defined(__x86_64__) && defined(__GNUC__)
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif
#define INLINE static inline __attribute__((always_inline))

/* Truncation, then the clip as integers, which vectorises: blends stay far inside the range of int. */
INLINE int blend(int degenerate, int image, float factor) {
  int v = (int)((float)degenerate + factor * (float)(image - degenerate));
  v = v < 0 ? 0 : v;
  return v > 255 ? 255 : v;
}

/* Sums in the order that is part of the result, the row below first. */
VECTORS void sat_sharpen_row(uint8_t *restrict out, const uint8_t *restrict above, const uint8_t *restrict at,
                             const uint8_t *restrict below, int n, float factor) {
  enum { BLOCK = 16, WIDTH = BLOCK + 6 };
  const float edge = (float)(1.0 / 13), middle = (float)(5.0 / 13);
  for (int i = 0; i < n; i += BLOCK) {
    int count = n - i < BLOCK ? n - i : BLOCK;
    float low[WIDTH] = {0}, mid[WIDTH] = {0}, high[WIDTH] = {0};
    if (count == BLOCK) { /* a fixed length, which the compiler turns into vectors */
      for (int k = 0; k < WIDTH; k++) low[k] = below[i + k], mid[k] = at[i + k], high[k] = above[i + k];
    } else {
      for (int k = 0; k < count + 6; k++) low[k] = below[i + k], mid[k] = at[i + k], high[k] = above[i + k];
    }
    int result[BLOCK];
    for (int k = 0; k < BLOCK; k++) {
      float sum = 0.5f;
      sum += low[k] * edge + low[k + 3] * edge + low[k + 6] * edge;
      sum += mid[k] * edge + mid[k + 3] * middle + mid[k + 6] * edge;
      sum += high[k] * edge + high[k + 3] * edge + high[k + 6] * edge;
      result[k] = blend((int)sum, (int)mid[k + 3], factor); /* the sum is below 256 */
    }
    for (int k = 0; k < count; k++) out[i + k] = (uint8_t)result[k];
  }
}

VECTORS void sat_color_row(uint8_t *row, int n, float factor) {
  for (int i = 0; i < n; i++) {
    uint8_t *p = row + 3 * i;
    int grey = (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 0x8000) >> 16;
    p[0] = blend(grey, p[0], factor);
    p[1] = blend(grey, p[1], factor);
    p[2] = blend(grey, p[2], factor);
  }
}

/* Red, green, blue and one sample that is ignored. */
typedef double pixel __attribute__((vector_size(32)));

#define LOAD(p) ((pixel){(p)[0], (p)[1], (p)[2], 0})

/* out = the cubic through four neighbours, a = -1, at d. */
#define CUBIC(out, v1, v2, v3, v4, d)                                         \
  do {                                                                        \
    pixel a1 = (v1), a2 = (v2), a3 = (v3), a4 = (v4);                         \
    pixel p2 = a3 - a1, p3 = 2 * (a1 - a2) + a3 - a4, p4 = a2 - a1 - a3 + a4; \
    (out) = a2 + (d) * (p2 + (d) * (p3 + (d) * p4));                          \
  } while (0)

INLINE int inside(int i, int n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

VECTORS void sat_bicubic_row(uint8_t *out, int n, const uint8_t *src, size_t stride, int width, int height,
                             double y_row, const double *m, const uint8_t *fill) {
  const double by = m[1] * y_row, ey = m[4] * y_row;
  for (int i = 0; i < n; i++, out += 3) {
    double xs = m[0] * (i + 0.5) + by + m[2], ys = m[3] * (i + 0.5) + ey + m[5];
    if (!(xs >= 0 && xs < width && ys >= 0 && ys < height)) {
      memcpy(out, fill, 3);
      continue;
    }
    xs -= 0.5;
    ys -= 0.5;
    double fx = floor(xs), fy = floor(ys), dx = xs - fx, dy = ys - fy;
    int x = (int)fx - 1, y = (int)fy - 1;
    size_t column[4];
    for (int k = 0; k < 4; k++) column[k] = 3 * (size_t)inside(x + k, width);
    const uint8_t *row[4];
    row[0] = src + stride * inside(y, height);
    for (int k = 1; k < 4; k++) row[k] = y + k >= 0 && y + k < height ? src + stride * (y + k) : row[k - 1];
    pixel v;
    if (dy == 0) { /* shears along x and translations: one interpolation, because the cubic at 0 is its second value */
      const uint8_t *r = row[1];
      CUBIC(v, LOAD(r + column[0]), LOAD(r + column[1]), LOAD(r + column[2]), LOAD(r + column[3]), dx);
    } else if (dx == 0) {
      size_t at = column[1];
      CUBIC(v, LOAD(row[0] + at), LOAD(row[1] + at), LOAD(row[2] + at), LOAD(row[3] + at), dy);
    } else {
      pixel along[4];
      for (int k = 0; k < 4; k++) {
        const uint8_t *r = row[k];
        CUBIC(along[k], LOAD(r + column[0]), LOAD(r + column[1]), LOAD(r + column[2]), LOAD(r + column[3]), dx);
      }
      CUBIC(v, along[0], along[1], along[2], along[3], dy);
    }
    for (int k = 0; k < 3; k++) out[k] = v[k] <= 0 ? 0 : v[k] >= 255 ? 255 : (int)v[k];
  }
}
