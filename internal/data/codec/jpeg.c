#include "jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

struct sat_jpeg {
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  jmp_buf failed;
  int warnings;
  char message[JMSG_LENGTH_MAX];
  uint8_t *cmyk; /* one row of 4 samples a pixel */
  size_t cmyk_size;
};

/* The library calls this instead of returning an error, and must not get control back. */
static void on_error(j_common_ptr info) {
  sat_jpeg *jpeg = info->client_data;
  jpeg->errors.format_message(info, jpeg->message);
  longjmp(jpeg->failed, 1);
}

static void on_message(j_common_ptr info, int level) {
  sat_jpeg *jpeg = info->client_data;
  if (level >= 0) return; /* trace output */
  /* The memory source invents an end marker when the data ends early, and only warns. */
  if (jpeg->errors.msg_code == JWRN_JPEG_EOF) on_error(info);
  jpeg->warnings++;
  jpeg->errors.format_message(info, jpeg->message);
}

sat_jpeg *sat_jpeg_new(void) {
  sat_jpeg *jpeg = calloc(1, sizeof *jpeg);
  if (jpeg == NULL) return NULL;
  jpeg->info.err = jpeg_std_error(&jpeg->errors);
  jpeg->errors.error_exit = on_error;
  jpeg->errors.emit_message = on_message;
  jpeg->info.client_data = jpeg;
  if (setjmp(jpeg->failed)) {
    sat_jpeg_free(jpeg);
    return NULL;
  }
  jpeg_create_decompress(&jpeg->info);
  return jpeg;
}

void sat_jpeg_free(sat_jpeg *jpeg) {
  if (jpeg == NULL) return;
  jpeg_destroy_decompress(&jpeg->info);
  free(jpeg->cmyk);
  free(jpeg);
}

int sat_jpeg_open(sat_jpeg *jpeg, const uint8_t *data, size_t size, int *width, int *height) {
  struct jpeg_decompress_struct *info = &jpeg->info;
  jpeg->warnings = 0;
  jpeg->message[0] = 0;
  if (setjmp(jpeg->failed)) {
    jpeg_abort_decompress(info);
    return -1;
  }
  jpeg_mem_src(info, data, size);
  jpeg_read_header(info, TRUE);
  *width = info->image_width;
  *height = info->image_height;
  return 0;
}

/* One row of inverted CMYK to RGB: with n = 255 - k and t = c * n + 128, R = n - (t/256 + t)/256, which is
 * n - c*n/255 rounded. */
static void cmyk_to_rgb(uint8_t *out, const uint8_t *in, size_t pixels) {
  for (size_t i = 0; i < pixels; i++, in += 4, out += 3) {
    int n = in[3]; /* 255 - k, with k = 255 - sample */
    for (int c = 0; c < 3; c++) {
      int t = (255 - in[c]) * n + 128;
      int v = n - (((t >> 8) + t) >> 8);
      out[c] = v < 0 ? 0 : v;
    }
  }
}

int sat_jpeg_read(sat_jpeg *jpeg, uint8_t *out, size_t stride) {
  struct jpeg_decompress_struct *info = &jpeg->info;
  if (setjmp(jpeg->failed)) {
    jpeg_abort_decompress(info);
    return -1;
  }
  int cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
  info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  if (cmyk && jpeg->cmyk_size < (size_t)info->image_width * 4) {
    free(jpeg->cmyk);
    jpeg->cmyk_size = 0;
    jpeg->cmyk = malloc((size_t)info->image_width * 4);
    if (jpeg->cmyk == NULL) ERREXIT1(info, JERR_OUT_OF_MEMORY, 0);
    jpeg->cmyk_size = (size_t)info->image_width * 4;
  }
  jpeg_start_decompress(info);
  while (info->output_scanline < info->output_height) {
    JDIMENSION y = info->output_scanline;
    if (cmyk) {
      JSAMPROW row = jpeg->cmyk;
      jpeg_read_scanlines(info, &row, 1);
      cmyk_to_rgb(out + y * stride, row, info->output_width);
      continue;
    }
    JSAMPROW rows[16]; /* the library fills at most one row of blocks at a time */
    JDIMENSION count = 0;
    for (; count < 16 && y + count < info->output_height; count++) rows[count] = out + (y + count) * stride;
    jpeg_read_scanlines(info, rows, count);
  }
  jpeg_finish_decompress(info);
  return 0;
}

int sat_jpeg_columns(sat_jpeg *jpeg, int *left, int *width) {
  struct jpeg_decompress_struct *info = &jpeg->info;
  if (setjmp(jpeg->failed)) {
    jpeg_abort_decompress(info);
    return -1;
  }
  info->out_color_space = JCS_RGB;
  jpeg_start_decompress(info);
  /* Chroma is enlarged from neighbours, which the first and last columns of a crop lack: one block more on each side.
   * The library moves the left end down to the start of a block. */
  JDIMENSION margin = DCTSIZE * info->max_h_samp_factor;
  JDIMENSION from = (JDIMENSION)*left < margin ? 0 : *left - margin;
  JDIMENSION to = *left + *width + margin;
  if (to > info->output_width) to = info->output_width;
  JDIMENSION columns = to - from;
  if (columns < info->output_width) jpeg_crop_scanline(info, &from, &columns);
  *left = from;
  *width = columns;
  return 0;
}

int sat_jpeg_rows(sat_jpeg *jpeg, uint8_t *out, size_t stride, int top, int rows) {
  struct jpeg_decompress_struct *info = &jpeg->info;
  if (setjmp(jpeg->failed)) {
    jpeg_abort_decompress(info);
    return -1;
  }
  /* Likewise the rows above. They are decoded to the place of the first one. */
  int margin = 2 * DCTSIZE * info->max_v_samp_factor;
  if (top > margin) jpeg_skip_scanlines(info, top - margin);
  JSAMPROW row = out;
  while (info->output_scanline < (JDIMENSION)top) jpeg_read_scanlines(info, &row, 1);
  JDIMENSION end = top + rows;
  while (info->output_scanline < end) {
    JSAMPROW lines[16];
    JDIMENSION y = info->output_scanline - top, count = 0;
    for (; count < 16 && y + count < (JDIMENSION)rows; count++) lines[count] = out + (y + count) * stride;
    jpeg_read_scanlines(info, lines, count);
  }
  if (end == info->output_height) {
    jpeg_finish_decompress(info);
  } else {
    jpeg_abort_decompress(info); /* the rest of the file is not read */
  }
  return 0;
}

int sat_jpeg_is_cmyk(const sat_jpeg *jpeg) {
  return jpeg->info.jpeg_color_space == JCS_CMYK || jpeg->info.jpeg_color_space == JCS_YCCK;
}

void sat_jpeg_abort(sat_jpeg *jpeg) { jpeg_abort_decompress(&jpeg->info); }

const char *sat_jpeg_message(const sat_jpeg *jpeg) { return jpeg->message; }

int sat_jpeg_warnings(const sat_jpeg *jpeg) { return jpeg->warnings; }
