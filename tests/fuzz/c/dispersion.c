#include "dispersion.h"

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    int sheared = byte(&in) & 1, factors = sheared && (byte(&in) & 1);
    roman_profile p = {.planes = (int32_t)count(&in, 3), .over_y = (int32_t)(1 + count(&in, 2)), .over_x = (int32_t)(1 + count(&in, 2)),
                       .ny = (int32_t)count(&in, 12), .nx = (int32_t)(rarely(&in, 20) ? count(&in, 40) : 16 * (1 + count(&in, 1))),
                       .row = rarely(&in, 20) ? whole(&in) : -(int32_t)count(&in, 12),
                       .column = rarely(&in, 20) ? whole(&in) : -(int32_t)count(&in, 30),
                       .rank = (int32_t)(factors ? 4 * count(&in, 2) : 0)};
    double slope = sheared ? near(&in, 0.02) : 0, direction = byte(&in) & 1 ? 1 : -1;
    double *slopes = take(&in, (size_t)p.planes * sizeof *slopes);
    for (int i = 0; i < p.planes; i++) slopes[i] = rarely(&in, 30) ? real(&in) : slope;
    int64_t rows = (p.ny + 3) / 4 * 4;
    p.slopes = sheared ? slopes : NULL;
    p.stamps = floats(&in, (int64_t)p.planes * p.over_y * p.over_x * p.ny * p.nx);
    p.along = floats(&in, p.planes * p.over_y * rows * p.rank);
    p.across = floats(&in, (int64_t)p.rank * p.over_x * p.nx);
    roman_trace t = {.bins = count(&in, 15)};
    double *x = doubles(&in, t.bins + 1), *y = rising(&in, t.bins + 1, rarely(&in, 10) ? real(&in) : 5, 1);
    int32_t *plane = take(&in, (size_t)t.bins * sizeof *plane), lower = 0;
    double *share = take(&in, (size_t)t.bins * sizeof *share);
    for (int64_t b = 0; b <= t.bins; b++) {
        y[b] *= direction;
        if (!rarely(&in, 40) || sheared) x[b] = (sheared ? slope * y[b] : x[b]) + 20;
        if (b == t.bins) break;
        if (rarely(&in, 8) && lower + 2 < p.planes) lower++;
        plane[b] = rarely(&in, 60) ? whole(&in) : lower;
        share[b] = rarely(&in, 60) ? real(&in) : lower + 1 < p.planes ? byte(&in) / 255.0 : 0;
    }
    t.x = x;
    t.y = y;
    t.plane = plane;
    t.share = share;
    roman_cutout c = {rarely(&in, 20) ? whole(&in) : (int32_t)count(&in, 20) - 10, rarely(&in, 20) ? whole(&in) : -60,
                      (int32_t)count(&in, 40), (int32_t)(rarely(&in, 10) ? count(&in, 200) : 160)};
    int64_t pixels = (int64_t)c.ny * c.nx;
    double *light = doubles(&in, t.bins), *gathered[2];
    float *image = floats(&in, pixels), *drawn[2];
    for (int level = 0; level < 2; level++) {
        drawn[level] = copy(&in, image, pixels, sizeof(float));
        gathered[level] = room(&in, t.bins, sizeof(double));
        roman_disperse(&p, &t, light, &c, drawn[level], 1 - level);
        roman_disperse_adjoint(&p, &t, image, &c, gathered[level], 1 - level);
    }
    same_floats(drawn[0], drawn[1], pixels);
    same_doubles(gathered[0], gathered[1], t.bins);
    return close_input(&in);
}
