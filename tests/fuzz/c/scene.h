/* ePSFs, frames and stars out of a fuzzer's bytes. */
#ifndef FUZZ_SCENE_H
#define FUZZ_SCENE_H

#include "exposure_fit.h"
#include "input.h"

enum { BASELINE = 1 };

typedef struct {
    roman_psf psf;
    roman_frame frame;
    int64_t n, plane;
    double *x, *y;
    int32_t *half;
} scene;

static roman_psf some_psf(input *in, int64_t arrays)
{
    roman_psf psf = {.oversample = (int32_t)(1 + count(in, 3))};
    psf.plane_ny = rarely(in, 10) ? (int32_t)(1 + count(in, 60)) : 30;
    psf.plane_nx = rarely(in, 10) ? (int32_t)(1 + count(in, 60)) : 30;
    psf.origin = psf.oversample * (rarely(in, 10) ? (int32_t)count(in, 60) : 15);
    if (rarely(in, 30)) psf.origin = whole(in);
    psf.coef = floats(in, arrays * psf.oversample * psf.oversample * psf.plane_ny * psf.plane_nx);
    return psf;
}

static scene some_scene(input *in, int64_t most, int64_t cells)
{
    scene s = {.psf = some_psf(in, cells), .n = count(in, most)};
    s.frame = (roman_frame){(int32_t)(1 + count(in, 20)), (int32_t)(1 + count(in, 20)), (int32_t)(rarely(in, 6) ? count(in, 30) : 20)};
    s.plane = (int64_t)(s.frame.ny + 2 * s.frame.pad) * (s.frame.nx + 2 * s.frame.pad);
    s.x = doubles(in, s.n);
    s.y = doubles(in, s.n);
    s.half = take(in, (size_t)s.n * sizeof *s.half);
    for (int64_t i = 0; i < s.n; i++) {
        static const int32_t sizes[] = {3, 3, 3, 7, 7, 11, 3, 7};
        s.half[i] = rarely(in, 40) ? whole(in) : sizes[byte(in) % 8];
        if (!rarely(in, 30)) {
            s.x[i] = fmod(fabs(s.x[i]), s.frame.nx);
            s.y[i] = fmod(fabs(s.y[i]), s.frame.ny);
        }
    }
    return s;
}

#endif
