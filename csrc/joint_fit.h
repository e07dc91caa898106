/* Joint linear fit of the fluxes of all stars of one or several images, with a smooth sky in each.
 *
 * Minimises sum_e sum_p w_ep (d_ep - sum_s f_s psi_es(p) - sum_k c_ek T_k(p))^2 over the fluxes f,
 * which the images share, and the sky terms c of each image. The sparse normal matrix of overlapping
 * stamps is built once; the sky is eliminated (Schur complement); conjugate gradients on the
 * Jacobi-scaled system start from the fluxes given. Scaled unknowns are f / sigma, so `tolerance`
 * bounds the residual gradient of every star in units of its own error.
 */
#ifndef ROMAN_JOINT_FIT_H
#define ROMAN_JOINT_FIT_H

#include <stdint.h>

#include "psf_stamp.h"

#define ROMAN_MAX_SKY_TERMS 8

/* cffi: begin */
typedef struct {
    double tolerance;      /* of the scaled gradient [sigma] */
    int32_t max_iterations;
    int32_t n_sky;         /* sky terms, 0 to 8 */
    int32_t core_half;     /* chi2 is taken over (2 core_half + 1)^2 pixels */
    int32_t iterations;    /* out */
    double worst_gradient; /* out */
    int64_t matrix_entries;/* out: off-diagonal entries */
} roman_joint_options;

/* x, y [n_frames][n]: positions in each image. half [n].
 * data, weight [n_frames][padded image]: [DN/s], [1/(DN/s)^2], weight 0 where a pixel is not used.
 * basis: n_sky padded images T_k, the same for every image.
 * flux [n]: start values in, fitted fluxes out [DN/s]. flux_err [n]: marginalised over the strongest
 * neighbours. chi2 [n]: mean weighted squared residual of the core pixels (NaN where none is used).
 * sky [n_frames][n_sky]: coefficients out. residual [n_frames][padded image] out: d - model.
 * Stars without a single used pixel get flux 0 and an infinite error. */
int roman_joint_fit(const roman_psf *psf, const roman_frame *frame, int32_t n_frames, int64_t n,
                    const double *x, const double *y, const int32_t *half, const float *data,
                    const float *weight, const float *basis, double *flux, double *flux_err,
                    float *chi2, double *sky, float *residual, roman_joint_options *options,
                    int32_t level);
/* cffi: end */

#endif
