/* Sums over each star's stamp: matched filters, position steps, rendering. */
#ifndef ROMAN_STAR_SUMS_H
#define ROMAN_STAR_SUMS_H

#include <stdint.h>

#include "psf_stamp.h"

/* cffi: begin */
/* image += flux[s] * psi_s for every star. Level-independent bits need the stars in one order. */
int roman_render(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                 const double *y, const int32_t *half, const double *flux, float *image,
                 int32_t level);

/* For every star, with weights w and image r: sums [n][2] = sum w psi r, sum w psi^2. */
int roman_matched_sums(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                       const double *y, const int32_t *half, const float *image,
                       const float *weight, double *sums, int32_t level);

/* The same with derivatives by position: sums [n][9] =
 * w psi r, w psix r, w psiy r, w psi^2, w psi psix, w psi psiy, w psix^2, w psix psiy, w psiy^2. */
int roman_position_sums(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                        const double *y, const int32_t *half, const float *image,
                        const float *weight, double *sums, int32_t level);
/* cffi: end */

#endif
