// Arithmetic on the bits of bfloat16 in a form that compilers vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// Marks a function of plain loops: it is compiled for several instruction sets, and the one of this processor runs.
#if defined(__x86_64__) && defined(__GNUC__)
#define SAT_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAT_VECTORISED
#endif

namespace sat {

inline float widened(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}

// rounded rounds to nearest, ties to even. Not-a-numbers stay so: the carry of rounding could make a zero of them.
inline uint16_t rounded(float x) {
  uint32_t wide;
  std::memcpy(&wide, &x, sizeof wide);
  const uint32_t up = (wide + 0x7fff + (wide >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(x != x ? 0x7fc0 : up);
}

// is_below_zero is true for negative numbers and false for not-a-numbers.
inline bool is_below_zero(uint16_t bits) { return bits > 0x8000 && bits <= 0xff80; }

// fast_exp is e^x for x <= 0, with a relative error of 2e-7; zero where that is below the smallest normal number.
inline float fast_exp(float x) {
  constexpr float kLog2e = 1.44269504f, kHigh = 0.693359375f, kLow = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = clamped - n * kHigh - n * kLow;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  uint32_t power;
  std::memcpy(&power, &shifted, sizeof power);
  power = (power + 127) << 23;  // the low bits of shifted are n
  float scale;
  std::memcpy(&scale, &power, sizeof scale);
  return x < -87.0f ? 0.0f : p * scale;
}

}  // namespace sat
