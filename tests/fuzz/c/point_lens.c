#include "input.h"
#include "point_lens.h"
#include "roman_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    int32_t bands = (int32_t)count(&in, 9);
    int64_t curves = count(&in, 3), pieces = curves * bands, total = 0, n_seeds = 0;
    int64_t *start = take(&in, (size_t)(pieces + 1) * sizeof *start), *seeds = take(&in, (size_t)(curves + 1) * sizeof *seeds);
    start[0] = seeds[0] = 0;
    for (int64_t i = 0; i < pieces; i++) start[i + 1] = total += count(&in, 30);
    for (int64_t i = 0; i < curves; i++) seeds[i + 1] = n_seeds += count(&in, 3);
    if (pieces && rarely(&in, 20)) start[count(&in, pieces)] -= count(&in, 5);
    double *time = rising(&in, total, 0, 1), *flux = doubles(&in, total), *weight = positives(&in, total);
    double *t0 = doubles(&in, n_seeds), *teff = positives(&in, n_seeds);
    for (int64_t i = 0; i < n_seeds; i++) t0[i] = rarely(&in, 8) ? t0[i] : fabs(t0[i]);
    roman_lens_options o = {.free_blend = byte(&in) & 1, .n_u0 = (int32_t)count(&in, 4)};
    o.u0 = positives(&in, o.n_u0);
    o.tolerance = near(&in, 1e-6);
    o.max_iterations = (int32_t)count(&in, 40);
    o.coarse_above = count(&in, 60);
    o.te_min = near(&in, 1e-3);
    o.te_max = near(&in, 1e4);
    o.u0_max = near(&in, 5);
    int64_t p = 3 + 2 * bands;
    double *out[2];
    int64_t sizes[] = {3 * curves, pieces, pieces, curves, curves, curves * p * p}, all = 0;
    for (int i = 0; i < 6; i++) all += sizes[i];
    int status[2];
    for (int level = 0; level < 2; level++) {
        double *v[6], *at = out[level] = room(&in, all, sizeof *at);
        for (int i = 0; i < 6; at += sizes[i++]) v[i] = at;
        int32_t *flags = room(&in, curves, sizeof *flags), *iterations = room(&in, curves, sizeof *flags);
        status[level] = roman_point_lens_fit(&o, curves, bands, start, time, flux, weight, seeds, t0, teff, v[0], v[1], v[2],
                                             v[3], v[4], v[5], flags, iterations, 1 - level);
    }
    must(status[0] == status[1], "same status");
    same_doubles(out[0], out[1], all);
    double *excess = room(&in, total, sizeof *excess);
    roman_point_lens_excess(total, time, real(&in), real(&in), real(&in), excess, 0);
    return close_input(&in);
}
