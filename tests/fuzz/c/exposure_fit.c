#include "scene.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    roman_psf_field field = {.cells_y = (int32_t)(1 + count(&in, 1)), .cells_x = (int32_t)(1 + count(&in, 1)), .cell_px = near(&in, 10)};
    scene s = some_scene(&in, 20, field.cells_y * field.cells_x);
    field.psf = s.psf;
    roman_exposure_options o = {.tolerance = near(&in, 0.05), .strength = near(&in, 1), .spread = near(&in, 0.1),
                                .release = near(&in, 4), .max_rounds = (int32_t)count(&in, 8),
                                .n_sky = (int32_t)count(&in, rarely(&in, 6) ? 9 : 3), .threads = 1};
    float *image = floats(&in, s.plane), *weight = floats(&in, s.plane), *basis = floats(&in, o.n_sky * s.plane);
    for (int64_t p = 0; p < s.plane; p++) weight[p] = rarely(&in, 50) ? weight[p] : fabsf(weight[p]);
    double *expected = doubles(&in, s.n), *out[3];
    float *seen[3];
    int64_t all = 2 * s.n + (o.n_sky ? o.n_sky : 1), pixels = 2 * s.n + s.plane;
    /* Another level, and another number of threads: the same bits. */
    int runs = rarely(&in, 16) ? 3 : 2;
    for (int run = 0; run < runs; run++) {
        double *at = out[run] = room(&in, all, sizeof *at);
        float *f = seen[run] = room(&in, pixels, sizeof *f);
        roman_exposure_options used = o;
        if (run == 2) used.threads = 3;
        roman_exposure_fit(&field, &s.frame, s.n, s.x, s.y, s.half, expected, image, weight, basis, at, at + s.n, f,
                           f + s.n, at + 2 * s.n, f + 2 * s.n, &used, run == 0 ? BASELINE : 0);
        same_doubles(out[0], at, all);
        same_floats(seen[0], f, pixels);
    }
    return close_input(&in);
}
