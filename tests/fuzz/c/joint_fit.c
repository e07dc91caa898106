#include "joint_fit.h"

#include "scene.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    scene s = some_scene(&in, 12, 1);
    int32_t frames = (int32_t)count(&in, 2);
    roman_joint_options o = {.tolerance = near(&in, 1e-3), .max_iterations = (int32_t)count(&in, 30),
                             .n_sky = (int32_t)count(&in, rarely(&in, 6) ? 9 : 3), .core_half = (int32_t)count(&in, 4)};
    int64_t n = frames * s.n;
    double *x = take(&in, (size_t)n * sizeof *x), *y = take(&in, (size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        x[i] = s.x[i % s.n];
        y[i] = s.y[i % s.n];
    }
    float *image = floats(&in, frames * s.plane), *weight = floats(&in, frames * s.plane), *basis = floats(&in, o.n_sky * s.plane);
    double *start = doubles(&in, s.n), *out[2];
    float *seen[2];
    int64_t terms = frames * (o.n_sky ? o.n_sky : 1), all = 2 * s.n + terms, pixels = s.n + frames * s.plane;
    for (int level = 0; level < 2; level++) {
        double *at = out[level] = room(&in, all, sizeof *at);
        float *f = seen[level] = room(&in, pixels, sizeof *f);
        if (s.n) memcpy(at, start, (size_t)s.n * sizeof *at);
        roman_joint_options used = o;
        roman_joint_fit(&s.psf, &s.frame, frames, s.n, x, y, s.half, image, weight, basis, at, at + s.n, f, at + 2 * s.n,
                        f + s.n, &used, 1 - level);
    }
    same_doubles(out[0], out[1], all);
    same_floats(seen[0], seen[1], pixels);
    return close_input(&in);
}
