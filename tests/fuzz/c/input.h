/* Sizes and arrays out of a fuzzer's bytes, for the harnesses of the kernels.
 *
 * Arrays are allocated with their exact size, so that AddressSanitizer sees every step beyond them. After the last
 * byte an own sequence follows that depends on the input: short inputs fill long arrays, too. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *at;
    size_t left;
    uint32_t state;
    void *taken[128];
    int count;
} input;

static input open_input(const uint8_t *data, size_t size)
{
    input in = {.at = data, .left = size, .state = 2463534242u};
    for (size_t i = 0; i < size; i++) in.state = (in.state ^ data[i]) * 16777619u;
    return in;
}

static int close_input(input *in)
{
    while (in->count) free(in->taken[--in->count]);
    return 0;
}

static uint8_t byte(input *in)
{
    if (in->left) {
        in->left--;
        return *in->at++;
    }
    in->state = in->state * 1664525u + 1013904223u;
    return (uint8_t)(in->state >> 24);
}

/* 0 to most. */
static int64_t count(input *in, int64_t most) { return (byte(in) | (int64_t)byte(in) << 8) % (most + 1); }

/* One time in `times`. */
static int rarely(input *in, int times) { return byte(in) % times == 0; }

static int32_t whole(input *in)
{
    uint32_t v = byte(in) | (uint32_t)byte(in) << 8 | (uint32_t)byte(in) << 16 | (uint32_t)byte(in) << 24;
    return (int32_t)v;
}

/* Mostly numbers of the order of one, now and then any number at all. */
static double real(input *in)
{
    static const double special[] = {0.0,    -0.0,    1.0,  -1.0, 1e-320, 1e-200, 1e-30, 1e9,
                                     1e30,   -1e30,   1e150, 1e300, -1e300, INFINITY, -INFINITY, NAN};
    uint8_t kind = byte(in);
    if (kind < 200) return (int16_t)(byte(in) | byte(in) << 8) / 2048.0;
    if (kind < 225) return (int16_t)(byte(in) | byte(in) << 8);
    if (kind < 240) return ldexp((int8_t)byte(in), (int8_t)byte(in));
    if (kind < 252) return special[byte(in) % 16];
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits = bits << 8 | byte(in);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* A number that is near `usual` or, rarely, any. */
static double near(input *in, double usual)
{
    return rarely(in, 12) ? real(in) : usual * (0.5 + byte(in) / 128.0);
}

static void *take(input *in, size_t bytes)
{
    if (in->count == 128) abort();
    void *memory = malloc(bytes);
    if (!memory) abort();
    return in->taken[in->count++] = memory;
}

static double *doubles(input *in, int64_t n)
{
    double *v = take(in, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = real(in);
    return v;
}

static float *floats(input *in, int64_t n)
{
    float *v = take(in, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = (float)real(in);
    return v;
}

/* Positive numbers of the order of one, mostly. */
static double *positives(input *in, int64_t n)
{
    double *v = take(in, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = near(in, 1.0);
    return v;
}

/* Numbers that rise, mostly. */
static double *rising(input *in, int64_t n, double from, double step)
{
    double *v = take(in, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = from += near(in, step);
    return v;
}

/* Room for results, filled with what no result is, so that levels can be compared. */
static void *room(input *in, int64_t n, size_t size)
{
    void *memory = take(in, (size_t)n * size);
    memset(memory, 0x5a, (size_t)n * size);
    return memory;
}

/* A copy: kernels may write into what they are given. */
static void *copy(input *in, const void *of, int64_t n, size_t size)
{
    void *memory = take(in, (size_t)n * size);
    memcpy(memory, of, (size_t)n * size);
    return memory;
}

static void must(int holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

/* The same bits, but for the bits of NaN. */
static void same_doubles(const double *a, const double *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) must(memcmp(a + i, b + i, sizeof *a) == 0 || (isnan(a[i]) && isnan(b[i])), "same bits");
}

static void same_floats(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) must(memcmp(a + i, b + i, sizeof *a) == 0 || (isnan(a[i]) && isnan(b[i])), "same bits");
}

#endif
