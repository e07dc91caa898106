#include "optical_model.h"

#include "input.h"

static int32_t terms(input *in) { return (int32_t)(rarely(in, 20) ? count(in, 17) : 1 + count(in, 3)); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    roman_optics o = {.map_i = terms(&in), .map_j = terms(&in), .ids_i = terms(&in), .ids_j = terms(&in), .ids_k = terms(&in),
                      .crv_i = terms(&in), .crv_j = terms(&in), .crv_k = terms(&in)};
    o.xmap = doubles(&in, o.map_i * o.map_j);
    o.ymap = doubles(&in, o.map_i * o.map_j);
    o.ids = doubles(&in, (int64_t)o.ids_i * o.ids_j * o.ids_k);
    o.crv = doubles(&in, (int64_t)o.crv_i * o.crv_j * o.crv_k);
    o.reference = near(&in, 1.5);
    o.logarithmic = byte(&in) & 1;
    o.crpix_x = real(&in);
    o.crpix_y = real(&in);
    o.centre_x = real(&in);
    o.centre_y = real(&in);
    o.px_per_mm = near(&in, 100);
    o.deg_per_px = near(&in, 3e-5);
    int64_t n = count(&in, 20), m = count(&in, 12), all = 4 * n + 2 * n * m;
    double *x0 = doubles(&in, n), *y0 = doubles(&in, n), *wave = positives(&in, n > m ? n : m), *out[2];
    for (int level = 0; level < 2; level++) {
        double *at = out[level] = room(&in, all, sizeof *at);
        roman_trace_points(&o, n, x0, y0, wave, at, at + n, 1 - level);
        roman_trace_slopes(&o, n, x0, y0, wave, at + 2 * n, at + 3 * n, 1 - level);
        roman_trace_grid(&o, n, x0, y0, m, wave, at + 4 * n, at + 4 * n + n * m, 1 - level);
    }
    same_doubles(out[0], out[1], all);
    return close_input(&in);
}
