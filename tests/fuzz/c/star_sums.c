#include "star_sums.h"

#include "scene.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    scene s = some_scene(&in, 16, 1);
    int64_t *offset = take(&in, (size_t)s.n * sizeof *offset), total = 0;
    for (int64_t i = 0; i < s.n; i++) {
        int64_t half = s.half[i] < 0 || s.half[i] > 64 ? 0 : s.half[i];
        offset[i] = total;
        total += (2 * half + 1) * (2 * half + 2);
    }
    int32_t derivative = (int32_t)count(&in, 3);
    double *scale = doubles(&in, s.n), *sums[2];
    float *image = floats(&in, s.plane), *weight = floats(&in, s.plane), *drawn[2];
    for (int level = 0; level < 2; level++) {
        drawn[level] = room(&in, total + s.plane, sizeof(float));
        sums[level] = room(&in, 11 * s.n, sizeof(double));
        roman_psf_stamps(&s.psf, s.n, s.x, s.y, s.half, offset, derivative, drawn[level], 1 - level);
        memcpy(drawn[level] + total, image, (size_t)s.plane * sizeof(float));
        roman_render(&s.psf, &s.frame, s.n, s.x, s.y, s.half, scale, drawn[level] + total, 1 - level);
        roman_matched_sums(&s.psf, &s.frame, s.n, s.x, s.y, s.half, image, weight, sums[level], 1 - level);
        roman_position_sums(&s.psf, &s.frame, s.n, s.x, s.y, s.half, image, weight, sums[level] + 2 * s.n, 1 - level);
    }
    same_floats(drawn[0], drawn[1], total + s.plane);
    same_doubles(sums[0], sums[1], 11 * s.n);
    double *gradient = room(&in, (int64_t)s.psf.oversample * s.psf.oversample * s.psf.plane_ny * s.psf.plane_nx, sizeof *gradient);
    roman_psf_splat(&s.psf, &s.frame, s.n, s.x, s.y, s.half, scale, image, gradient);
    return close_input(&in);
}
