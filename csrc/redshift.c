#include "redshift.h"

#include "nnls.h"

#define KERNEL_BODY "redshift_body.h"
#include "levels.h"

static int templates_valid(const roman_scan_templates *t)
{
    int columns = t->n_continua + t->n_line_columns;
    if (t->n_continua < 0 || t->n_continua > ROMAN_SCAN_CONTINUA || t->n_line_columns < 0 || columns < 1 ||
        columns > ROMAN_SCAN_COLUMNS || t->n_lines < 0 || t->n_cells < 2 || t->n_cells > 1000000000 ||
        !isfinite(t->log_end) || !(t->log_step > 0) || !isfinite(t->log_step)) {
        return 0;
    }
    for (int k = 0; k < t->n_lines; k++) {
        if (!(t->line_wavelength[k] > 0) || !isfinite(t->line_wavelength[k]) || !isfinite(t->line_flux[k]) ||
            t->line_flux[k] < 0 || !(t->line_width[k] >= 0) || !(t->line_width[k] < 1) ||
            t->line_column[k] < 0 || t->line_column[k] >= t->n_line_columns) {
            return 0;
        }
    }
    for (int64_t g = 0; g < t->n_continua * t->n_cells; g++) {
        if (!isfinite(t->continua[g])) return 0;
    }
    return 1;
}

int roman_redshift_scan(const roman_scan_templates *templates, int64_t n, const double *wavelength,
                        const double *flux, const double *weight, const double *lsf, int64_t n_z,
                        const double *log_1pz, const double *rate, double *chi2,
                        double *log_evidence, double *amplitude, int32_t level)
{
    if (n < 1 || n_z < 0 || !templates_valid(templates)) return ROMAN_ERR_ARGUMENT;
    for (int64_t p = 0; p < n; p++) {
        if (!(wavelength[p] > (p ? wavelength[p - 1] : 0)) || !isfinite(wavelength[p]) || !isfinite(flux[p]) ||
            !(weight[p] >= 0) || !isfinite(weight[p]) || !(lsf[p] > 0) || !isfinite(lsf[p])) {
            return ROMAN_ERR_ARGUMENT;
        }
    }
    for (int k = 0; k < templates->n_line_columns; k++) {
        if (!(rate[k] >= 0) || !isfinite(rate[k])) return ROMAN_ERR_ARGUMENT;
    }
    /* The table must hold every pixel at every redshift, the cell to interpolate to included. */
    double blue = log(wavelength[0]), red = log(wavelength[n - 1]);
    for (int64_t z = 0; z < n_z; z++) {
        double first = (templates->log_end - red + log_1pz[z]) / templates->log_step;
        double last = (templates->log_end - blue + log_1pz[z]) / templates->log_step;
        if (!(first >= 0) || !(last < (double)(templates->n_cells - 1) - 1e-6)) return ROMAN_ERR_ARGUMENT;
    }
    /* Without a redshift nothing bounds the cells between the pixels, and nothing is asked for. */
    if (!n_z) return ROMAN_OK;
    scan_found found = {chi2, log_evidence, amplitude};
    return DISPATCH(level, redshift_scan, templates, n, wavelength, flux, weight, lsf, n_z, log_1pz, rate,
                    &found);
}
