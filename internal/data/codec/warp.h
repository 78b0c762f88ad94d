/* Loops of the training augmentation over 8-bit RGB. What they compute is said in package augment. */
#ifndef SAT_WARP_H
#define SAT_WARP_H

#include <stddef.h>
#include <stdint.h>

/* Blends n samples of a row with their 3x3 smoothed values; above, at and below start one pixel before out. */
void sat_sharpen_row(uint8_t *out, const uint8_t *above, const uint8_t *at, const uint8_t *below, int n, float factor);

/* Blends n pixels with their grey values. */
void sat_color_row(uint8_t *row, int n, float factor);

/* One output row of a bicubic affine map: pixel x lies at (m0*(x+0.5) + m1*y_row + m2, m3*(x+0.5) + m4*y_row + m5) of
 * the source; pixels outside it become fill. */
void sat_bicubic_row(uint8_t *out, int n, const uint8_t *src, size_t stride, int width, int height, double y_row,
                     const double *m, const uint8_t *fill);

#endif
