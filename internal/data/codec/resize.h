/* The two passes of the resize: fixed-point convolutions of 8-bit samples along one axis. See resize.go. */
#ifndef SAT_RESIZE_H
#define SAT_RESIZE_H

#include <stddef.h>
#include <stdint.h>

/* The axis: output i is the sum over j < count[i] of weights[i*taps + j] * sample[first[i] + j], in units of 2^-22. */

/* Convolves `rows` rows of RGB pixels along x. Reads one byte beyond the last pixel that the axis names. */
void sat_resize_horizontal(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows,
                           const int32_t *first, const int32_t *count, const int32_t *weights, int taps, int outputs);

/* Convolves along y: each output row is a sum of source rows of `width` bytes. Row 0 of src is row `origin` of the
 * axis. */
void sat_resize_vertical(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int width,
                         const int32_t *first, const int32_t *count, const int32_t *weights, int taps, int outputs,
                         int origin);

#endif
