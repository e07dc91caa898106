/* Search of light curves for brightenings of the shape of a point lens.
 *
 * Two templates over a grid of (t0, teff), after KMTNet's EventFinder (Kim et al. 2018, AJ 155, 76):
 * with Q = 1 + ((t - t0) / teff)^2, A_1 = Q^-1/2 (high magnification) and
 * A_2 = [1 - (Q/2 + 1)^-2]^-1/2 (u0 = 1). The model is base + f (A - A_edge) inside
 * |t - t0| < reach teff and base outside; both fluxes are free and the base is fitted to the whole
 * curve, so that a few points on an event are judged against everything else the curve holds (a
 * window that fits its own base cannot see an event in a sparse series).
 *
 * All stars share their epochs, hence the templates; stars run side by side in the vector lanes, and a
 * star's result does not depend on its neighbours. Epochs are binned to between teff/8 and teff/4.
 * Windows are ranked by the smaller of their delta-chi2 and what is left of it when their most significant
 * point is taken away: one outlier never wins. The winner is evaluated again in double precision on the single points.
 */
#ifndef ROMAN_EVENT_SEARCH_H
#define ROMAN_EVENT_SEARCH_H

#include <stdint.h>

/* cffi: begin */
typedef struct {
    double teff_min, teff_max; /* [d] */
    double teff_ratio;         /* of neighbouring teff, > 1 */
    double steps_per_teff;     /* t0 steps in one teff */
    double reach;              /* half window in teff */
    double high_sigma;         /* what counts as a high point */
} roman_search_grid;

/* mjd [n_epochs]: increasing [d]. flux, flux_err [n_stars][n_epochs]; a point whose flux or error is not
 * finite, or whose error is not positive, has no weight.
 * Out, [n_stars] each: t0, teff [d]; shape 1 or 2 (0: nothing found, t0 and teff NaN); dchi2 against a
 * constant, and the same without the most significant point (never more than dchi2); base and height: fitted fluxes; n_high: points
 * of the window more than high_sigma above the base; run: longest run of them, in which points without
 * weight neither count nor break. */
int roman_event_search(const roman_search_grid *grid, int64_t n_epochs, const double *mjd,
                       int64_t n_stars, const float *flux, const float *flux_err, double *t0,
                       double *teff, int32_t *shape, double *dchi2, double *dchi2_without,
                       double *base, double *height, int32_t *n_high, int32_t *run, int32_t level);
/* cffi: end */

#endif
