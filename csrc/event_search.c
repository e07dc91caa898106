#include "event_search.h"

#include "paczynski.h"

#define KERNEL_BODY "event_search_body.h"
#include "levels.h"

int roman_event_search(const roman_search_grid *grid, int64_t n_epochs, const double *mjd,
                       int64_t n_stars, const float *flux, const float *flux_err, double *t0,
                       double *teff, int32_t *shape, double *dchi2, double *dchi2_without,
                       double *base, double *height, int32_t *n_high, int32_t *run, int32_t level)
{
    if (n_epochs < 1 || n_stars < 0 || !(grid->teff_min > 0) || !isfinite(grid->teff_max) ||
        !(grid->teff_ratio >= 1.01) || !(grid->steps_per_teff >= 0.5) ||
        !(grid->steps_per_teff <= 64) || !(grid->reach >= 1) || !(grid->reach <= 20)) {
        return ROMAN_ERR_ARGUMENT;
    }
    for (int64_t e = 0; e < n_epochs; e++) {
        if (!isfinite(mjd[e]) || (e && mjd[e] < mjd[e - 1])) return ROMAN_ERR_ARGUMENT;
    }
    /* The number of cells of the finest binning must fit an integer with room to spare. */
    if ((mjd[n_epochs - 1] - mjd[0]) / grid->teff_min > 1e12) return ROMAN_ERR_ARGUMENT;
    search_found found = {t0, teff, shape, dchi2, dchi2_without, base, height, n_high, run};
    return DISPATCH(level, event_search, grid, n_epochs, mjd, n_stars, flux, flux_err, &found);
}
