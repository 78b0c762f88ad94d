/* JPEG decoding to 8-bit RGB by libjpeg-turbo. One object serves one thread at a time. */
#ifndef SAT_JPEG_H
#define SAT_JPEG_H

#include <stddef.h>
#include <stdint.h>

typedef struct sat_jpeg sat_jpeg;

/* Returns NULL when out of memory. */
sat_jpeg *sat_jpeg_new(void);
/* Accepts NULL. */
void sat_jpeg_free(sat_jpeg *jpeg);

/* Reads the header and keeps `data` until sat_jpeg_read or sat_jpeg_abort. All functions that return int return 0, or
 * -1 with the reason in sat_jpeg_message; the object can then be used for the next image. */
int sat_jpeg_open(sat_jpeg *jpeg, const uint8_t *data, size_t size, int *width, int *height);
/* Decodes the opened image to `out`: rows of width*3 bytes, `stride` bytes apart. */
int sat_jpeg_read(sat_jpeg *jpeg, uint8_t *out, size_t stride);
/* Decode a part of the opened image instead, which must not be CMYK. First its columns: on return, `left` and `width`
 * are those that rows will have, at least the ones asked for. Then its rows. */
int sat_jpeg_is_cmyk(const sat_jpeg *jpeg);
int sat_jpeg_columns(sat_jpeg *jpeg, int *left, int *width);
int sat_jpeg_rows(sat_jpeg *jpeg, uint8_t *out, size_t stride, int top, int rows);
void sat_jpeg_abort(sat_jpeg *jpeg);

/* The library's last error or warning, valid until the next call. */
const char *sat_jpeg_message(const sat_jpeg *jpeg);
/* How often the library warned about the last image. */
int sat_jpeg_warnings(const sat_jpeg *jpeg);

#endif
