/* Fluxes of all catalogued stars of one exposure: the joint linear fit around what the catalogue expects.
 *
 * Minimises sum_p w_p (d_p - sum_s f_s psi_s(p) - sum_k c_k T_k(p))^2 + sum_s lambda_s ((f_s - e_s) / sigma_s)^2
 * over the fluxes f and the sky c, where e is the catalogue's flux and sigma_s the error a star would have alone.
 * lambda_s = strength / (1 + (spread e_s / sigma_s)^2): the catalogue speaks for the faint stars, which one
 * exposure cannot separate; stars well measured here are free, and so is, from then on, every star found more
 * than `release` sigma from what was expected. The flux reported for a star is its most likely one given the
 * fitted fluxes of all the others: its own prior does not enter, so it is not drawn towards the catalogue.
 *
 * Each round solves a sparse approximation of the normal equations (the cores of neighbours, the sky
 * eliminated) by conjugate gradients and subtracts the step from the residual image exactly; rounds end when
 * the exact gradient of every star is below `tolerance`. A lost wing or a coarse sky in the approximation
 * costs a round, not accuracy. Work is shared by threads in pieces whose bounds do not depend on their
 * number: the bits are the same for any.
 */
#ifndef ROMAN_EXPOSURE_FIT_H
#define ROMAN_EXPOSURE_FIT_H

#include <stdint.h>

#include "psf_stamp.h"

#define ROMAN_MAX_SKY 8

/* cffi: begin */
/* ePSFs on a grid of cells over the image: `psf.coef` holds cells_y * cells_x coefficient arrays, row by row.
 * Cells have cell_px pixels a side, the first one beginning at pixel (-0.5, -0.5). */
typedef struct {
    roman_psf psf;
    int32_t cells_y, cells_x;
    double cell_px;
} roman_psf_field;

typedef struct {
    double tolerance;      /* of the scaled gradient [sigma] */
    double strength;       /* of the prior; 0: none */
    double spread;         /* relative to the catalogue's flux */
    double release;        /* [sigma] */
    int32_t max_rounds;
    int32_t n_sky;         /* sky terms, 1 to 8 */
    int32_t threads;
    int32_t rounds;        /* out */
    int32_t iterations;    /* out: of conjugate gradients, over all rounds */
    double worst_gradient; /* out */
    int64_t released;      /* out: stars freed from the prior */
    int64_t matrix_entries;/* out */
    int64_t bytes;         /* out: of working memory */
} roman_exposure_options;

/* x, y [n]: positions. half [n]. expected [n]: catalogue fluxes [DN/s].
 * data, weight [padded image]: [DN/s], [1/(DN/s)^2], weight 0 where a pixel is not used.
 * basis: n_sky padded images T_k.
 * Out: flux, flux_err [n] [DN/s] (0 and infinite without a used pixel); chi2 [n]: mean weighted squared
 * residual of the 7 x 7 core (NaN where none is used); gradient [n]: what is left
 * of the gradient of the objective, in units of the flux error that a star would have alone; sky [n_sky]; residual [padded image]: d - model. */
int roman_exposure_fit(const roman_psf_field *field, const roman_frame *frame, int64_t n,
                       const double *x, const double *y, const int32_t *half,
                       const double *expected, const float *data, const float *weight,
                       const float *basis, double *flux, double *flux_err, float *chi2, float *gradient,
                       double *sky, float *residual, roman_exposure_options *options, int32_t level);
/* cffi: end */

/* The ePSF of the cell that holds a position; beyond the image that of its edge. */
static inline roman_psf roman_psf_at(const roman_psf_field *field, double x, double y)
{
    roman_psf psf = field->psf;
    double cx = (x + 0.5) / field->cell_px, cy = (y + 0.5) / field->cell_px;
    int64_t column = cx < 1 ? 0 : cx >= field->cells_x ? field->cells_x - 1 : (int64_t)cx;
    int64_t row = cy < 1 ? 0 : cy >= field->cells_y ? field->cells_y - 1 : (int64_t)cy;
    int64_t floats = (int64_t)psf.oversample * psf.oversample * psf.plane_ny * psf.plane_nx;
    psf.coef += (row * field->cells_x + column) * floats;
    return psf;
}

#endif
