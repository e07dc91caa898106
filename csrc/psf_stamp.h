/* Effective PSF: a cubic B-spline on an integer-oversampled grid, evaluated on pixel stamps.
 *
 * psi(dx, dy) is the fraction of a star's flux in the pixel whose centre lies (dx, dy) pixels from
 * the star. The spline coefficients are stored phase by phase: plane (py, px) holds the coefficients
 * whose grid index is congruent to (py, px) modulo the oversampling, so that the taps of neighbouring
 * pixels are neighbours in memory (the weights of a star are the same for all its pixels).
 *
 *   coef    [oversample][oversample][plane_ny][plane_nx], grid index g = plane index * oversample + phase
 *   origin  grid index of the point (0, 0), a multiple of oversample
 *
 * Half sizes of stamps are 3, 7, 11, ... (4 k + 3), so that a row of 2 half + 1 pixels and one pad
 * pixel fills whole groups of eight lanes; a stamp has (2 half + 1) rows of (2 half + 2) floats,
 * the last of each row being zero.
 */
#ifndef ROMAN_PSF_STAMP_H
#define ROMAN_PSF_STAMP_H

#include <stdint.h>

/* cffi: begin */
typedef struct {
    const float *coef;
    int32_t oversample, plane_ny, plane_nx, origin;
} roman_psf;

/* An image with `pad` pixels of margin on every side, filled with zeros, so that stamps may hang
 * over the edge. Row stride nx + 2 pad; pixel (0, 0) of the image is at [pad][pad]. */
typedef struct {
    int32_t ny, nx, pad;
} roman_frame;

/* Evaluates n stamps. x, y [n] star positions [px]; half [n] half sizes; offset [n] start of each
 * stamp in `stamps` [floats]; derivative 0: psi, 1: d psi / d x_star, 2: d psi / d y_star [1/px]. */
int roman_psf_stamps(const roman_psf *psf, int64_t n, const double *x, const double *y,
                     const int32_t *half, const int64_t *offset, int32_t derivative, float *stamps,
                     int32_t level);

/* The adjoint: adds to `gradient` (same layout as coef, float64) the sum over stars and pixels of
 * scale[s] * image[p] * B_k(p - star). */
int roman_psf_splat(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                    const double *y, const int32_t *half, const double *scale, const float *image,
                    double *gradient);
/* cffi: end */

#define ROMAN_MAX_HALF 63 /* the largest stamp */

/* Whether every stamp has a proper half size and finite position, lies inside the ePSF's grid and, where
 * a frame is given (NULL: none), inside the padded image whatever the star's position. */
int roman_stamps_fit(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                     const double *y, const int32_t *half);

#endif
