#include "grid_sums.h"

#include "scene.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    roman_psf_field field = {.cells_y = (int32_t)(1 + count(&in, 1)), .cells_x = (int32_t)(1 + count(&in, 1)), .cell_px = near(&in, 10)};
    scene s = some_scene(&in, 0, field.cells_y * field.cells_x);
    field.psf = s.psf;
    int64_t by = count(&in, 2), bx = count(&in, 2), points = 4 * 256 * by * bx;
    double *dx = doubles(&in, by * bx), *dy = doubles(&in, by * bx);
    float *signal = floats(&in, s.plane), *weight = floats(&in, s.plane), *before = floats(&in, 4 * points), *sums[2];
    for (int level = 0; level < 2; level++) {
        float *at = sums[level] = copy(&in, before, 4 * points, sizeof *at);
        roman_grid_sums(&field, &s.frame, by, bx, dx, dy, signal, weight, at, at + points, at + 2 * points, at + 3 * points, 1 - level);
    }
    same_floats(sums[0], sums[1], 4 * points);
    return close_input(&in);
}
