#include "input.h"
#include "redshift.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    roman_scan_templates t = {.n_continua = (int32_t)count(&in, 13), .n_line_columns = (int32_t)count(&in, 13),
                              .n_lines = (int32_t)count(&in, 6), .n_cells = 2 + count(&in, 300)};
    t.log_step = near(&in, 0.01);
    t.log_end = rarely(&in, 10) ? real(&in) : 7.5;
    t.continua = doubles(&in, t.n_continua * t.n_cells);
    double *wavelength = positives(&in, t.n_lines), *flux = positives(&in, t.n_lines), *width = positives(&in, t.n_lines);
    int32_t *column = take(&in, (size_t)t.n_lines * sizeof *column);
    for (int i = 0; i < t.n_lines; i++) {
        wavelength[i] *= 500;
        width[i] *= 1e-3;
        column[i] = rarely(&in, 30) ? whole(&in) : (int32_t)count(&in, t.n_line_columns);
    }
    t.line_wavelength = wavelength;
    t.line_flux = flux;
    t.line_width = width;
    t.line_column = column;
    int64_t n = count(&in, 50), n_z = count(&in, 20);
    double *w = rising(&in, n, 1000, 10), *f = doubles(&in, n), *v = positives(&in, n), *s = positives(&in, n);
    double *z = rising(&in, n_z, byte(&in) / 256.0, rarely(&in, 3) ? t.log_step : 0.01), *rate = positives(&in, t.n_line_columns);
    int64_t columns = t.n_continua + t.n_line_columns, all = n_z * (2 + columns);
    double *out[2];
    for (int level = 0; level < 2; level++) {
        double *at = out[level] = room(&in, all, sizeof *at);
        roman_redshift_scan(&t, n, w, f, v, s, n_z, z, rate, at, at + n_z, at + 2 * n_z, 1 - level);
    }
    same_doubles(out[0], out[1], all);
    return close_input(&in);
}
