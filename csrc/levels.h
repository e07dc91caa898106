/* Compiles one kernel body once per vector level.
 *
 * A kernel FOO writes its code in FOO_body.h, wrapping every function name in AT_LEVEL(), and its
 * FOO.c defines KERNEL_BODY as that file's name before including this one. The bodies are the same
 * source with the same order of operations in a fixed number of lanes and explicit fma(), so every
 * level gives the same bits (with -ffp-contract=off); only the instructions differ. On arm64, where
 * vectors and fma are part of the baseline, there is one level.
 *
 * No include guard on purpose: each kernel includes it once.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "lanes.h"
#include "roman_status.h"

#define AT_LEVEL(name) name##_baseline
#include KERNEL_BODY
#undef AT_LEVEL

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define AT_LEVEL(name) name##_v3
#include KERNEL_BODY
#undef AT_LEVEL
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx2,fma,avx512f,avx512dq,avx512vl,avx512bw"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")
#endif
#define AT_LEVEL(name) name##_v4
#include KERNEL_BODY
#undef AT_LEVEL
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#define DISPATCH(level, name, ...)                                                                 \
    (roman_effective_level(level) == ROMAN_LEVEL_V4   ? name##_v4(__VA_ARGS__)                     \
     : roman_effective_level(level) == ROMAN_LEVEL_V3 ? name##_v3(__VA_ARGS__)                     \
                                                      : name##_baseline(__VA_ARGS__))
#else
#define DISPATCH(level, name, ...) ((void)(level), name##_baseline(__VA_ARGS__))
#endif
