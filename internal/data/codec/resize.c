#include "resize.h"

#include <string.h>

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1) };

static inline uint8_t clip(int32_t sum) {
  int32_t v = sum >> PRECISION;
  return v < 0 ? 0 : v > 255 ? 255 : v;
}

/* Plain C, for processors without AVX2 and for what the vectorised loops leave over. */
static void horizontal_plain(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows,
                             const int32_t *first, const int32_t *count, const int32_t *weights, int taps,
                             int outputs) {
  for (int y = 0; y < rows; y++) {
    const uint8_t *in = src + y * src_stride;
    uint8_t *out = dst + y * dst_stride;
    for (int x = 0; x < outputs; x++) {
      const int32_t *k = weights + (size_t)x * taps;
      const uint8_t *p = in + (size_t)first[x] * 3;
      int32_t r = HALF, g = HALF, b = HALF;
      for (int j = 0; j < count[x]; j++, p += 3) {
        r += p[0] * k[j];
        g += p[1] * k[j];
        b += p[2] * k[j];
      }
      out[x * 3] = clip(r);
      out[x * 3 + 1] = clip(g);
      out[x * 3 + 2] = clip(b);
    }
  }
}

/* One output row: samples [x, width) of the weighted sum of `count` rows. */
static void vertical_plain(uint8_t *out, const uint8_t *in, size_t stride, int x, int width, const int32_t *k,
                           int count) {
  enum { BLOCK = 32 }; /* a fixed length, which the compiler turns into vectors */
  for (; x + BLOCK <= width; x += BLOCK) {
    int32_t sum[BLOCK];
    for (int i = 0; i < BLOCK; i++) sum[i] = HALF;
    for (int j = 0; j < count; j++) {
      const uint8_t *p = in + j * stride + x;
      for (int i = 0; i < BLOCK; i++) sum[i] += p[i] * k[j];
    }
    for (int i = 0; i < BLOCK; i++) out[x + i] = clip(sum[i]);
  }
  for (; x < width; x++) {
    int32_t sum = HALF;
    for (int j = 0; j < count; j++) sum += in[j * stride + x] * k[j];
    out[x] = clip(sum);
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2 1
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* The next pixel of a row as 32-bit samples. The fourth is the neighbour's red and is ignored. */
AVX2 static inline __m128i load_pixel(const uint8_t *p) {
  int32_t word;
  memcpy(&word, p, 4);
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(word));
}

/* Four rows at a time share the weights and keep the multipliers busy. `rows` is a multiple of 4. */
AVX2 static void horizontal_avx2(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows,
                                 const int32_t *first, const int32_t *count, const int32_t *weights, int taps,
                                 int outputs) {
  for (int y = 0; y < rows; y += 4) {
    const uint8_t *in = src + y * src_stride;
    uint8_t *out = dst + y * dst_stride;
    for (int x = 0; x < outputs; x++, out += 3) {
      const int32_t *k = weights + (size_t)x * taps;
      const uint8_t *p = in + (size_t)first[x] * 3;
      __m128i s0 = _mm_set1_epi32(HALF), s1 = s0, s2 = s0, s3 = s0;
      for (int j = 0, n = count[x]; j < n; j++, p += 3) {
        __m128i w = _mm_set1_epi32(k[j]);
        s0 = _mm_add_epi32(s0, _mm_mullo_epi32(load_pixel(p), w));
        s1 = _mm_add_epi32(s1, _mm_mullo_epi32(load_pixel(p + src_stride), w));
        s2 = _mm_add_epi32(s2, _mm_mullo_epi32(load_pixel(p + 2 * src_stride), w));
        s3 = _mm_add_epi32(s3, _mm_mullo_epi32(load_pixel(p + 3 * src_stride), w));
      }
      /* Packing saturates, which is the clip. */
      __m128i low = _mm_packs_epi32(_mm_srai_epi32(s0, PRECISION), _mm_srai_epi32(s1, PRECISION));
      __m128i high = _mm_packs_epi32(_mm_srai_epi32(s2, PRECISION), _mm_srai_epi32(s3, PRECISION));
      uint32_t pixels[4];
      _mm_storeu_si128((__m128i *)pixels, _mm_packus_epi16(low, high));
      /* The fourth byte is overwritten by the next pixel; the last pixel must not touch what follows the row. */
      if (x + 1 < outputs) {
        for (int r = 0; r < 4; r++) memcpy(out + r * dst_stride, &pixels[r], 4);
      } else {
        for (int r = 0; r < 4; r++) memcpy(out + r * dst_stride, &pixels[r], 3);
      }
    }
  }
}

/* One output row in blocks of 32 samples, whose sums stay in registers. Returns how many samples it wrote. */
AVX2 static int vertical_avx2(uint8_t *out, const uint8_t *in, size_t stride, int width, const int32_t *k, int count) {
  int x = 0;
  for (; x + 32 <= width; x += 32) {
    __m256i s0 = _mm256_set1_epi32(HALF), s1 = s0, s2 = s0, s3 = s0;
    const uint8_t *p = in + x;
    for (int j = 0; j < count; j++, p += stride) {
      __m256i w = _mm256_set1_epi32(k[j]);
#define SAMPLES(i) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8 * (i))))
      s0 = _mm256_add_epi32(s0, _mm256_mullo_epi32(SAMPLES(0), w));
      s1 = _mm256_add_epi32(s1, _mm256_mullo_epi32(SAMPLES(1), w));
      s2 = _mm256_add_epi32(s2, _mm256_mullo_epi32(SAMPLES(2), w));
      s3 = _mm256_add_epi32(s3, _mm256_mullo_epi32(SAMPLES(3), w));
#undef SAMPLES
    }
    /* Packing saturates, which is the clip. It works in halves of a register: the permutation restores the order. */
    __m256i low = _mm256_packs_epi32(_mm256_srai_epi32(s0, PRECISION), _mm256_srai_epi32(s1, PRECISION));
    __m256i high = _mm256_packs_epi32(_mm256_srai_epi32(s2, PRECISION), _mm256_srai_epi32(s3, PRECISION));
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
    _mm256_storeu_si256((__m256i *)(out + x), bytes);
  }
  return x;
}
#endif

void sat_resize_horizontal(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows,
                           const int32_t *first, const int32_t *count, const int32_t *weights, int taps, int outputs) {
  int done = 0;
#ifdef HAVE_AVX2
  if (__builtin_cpu_supports("avx2")) {
    done = rows & ~3;
    horizontal_avx2(dst, dst_stride, src, src_stride, done, first, count, weights, taps, outputs);
  }
#endif
  horizontal_plain(dst + done * dst_stride, dst_stride, src + done * src_stride, src_stride, rows - done, first, count,
                   weights, taps, outputs);
}

void sat_resize_vertical(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int width,
                         const int32_t *first, const int32_t *count, const int32_t *weights, int taps, int outputs,
                         int origin) {
  for (int y = 0; y < outputs; y++) {
    const int32_t *k = weights + (size_t)y * taps;
    const uint8_t *in = src + (first[y] - origin) * src_stride;
    uint8_t *out = dst + y * dst_stride;
    int x = 0;
#ifdef HAVE_AVX2
    if (__builtin_cpu_supports("avx2")) x = vertical_avx2(out, in, src_stride, width, k, count[y]);
#endif
    vertical_plain(out, in, src_stride, x, width, k, count[y]);
  }
}
