/* What the parts of point_lens.c share: curves, points of the parameters' space, the reduced problem. */
#ifndef ROMAN_LENS_WORK_H
#define ROMAN_LENS_WORK_H

#include "point_lens.h"

/* Sums over a band, with m = A - 1, d = dm / d(u^2), k the power of (t - t0) / tE:
 * w m, w m m, w m f; w d^(k), w m d^(k), w f d^(k) for k = 0..2; w d d^(k) for k = 0..4. */
enum { S_M, S_MM, S_FM, S_D, S_MD = S_D + 3, S_FD = S_MD + 3, S_DD = S_FD + 3, LENS_SUMS = S_DD + 5 };
#define LENS_SMALLEST_U2 1e-20
#define LENS_LEAST_PIVOT 1e-13 /* of a matrix with a unit diagonal */
#define LENS_MAX_PARAMETERS (3 + 2 * ROMAN_MAX_BANDS)

typedef struct {
    int32_t n_bands;
    const int64_t *start;
    const double *time, *flux, *weight;
    const int64_t *seed_start;
    const double *seed_t0, *seed_teff;
} lens_data;

typedef struct {
    double *theta, *fs, *fb, *chi2, *chi2_flat, *covariance;
    int32_t *flags, *iterations;
} lens_result;

/* One band, padded with points of weight 0 to a multiple of LANES; fluxes relative to their mean. */
typedef struct {
    int64_t n, padded;
    double *time, *flux, *weight;
    double mean, sum_w, sum_wff;
} lens_band;

typedef struct {
    int n_bands, free_blend;
    lens_band band[ROMAN_MAX_BANDS];
    double first, last; /* span of the points */
} lens_curve;

typedef struct {
    double t0, u0, log_te;
} lens_point;

/* The reduced problem at a point. */
typedef struct {
    double chi2, gradient[3], matrix[3][3];
    double fs[ROMAN_MAX_BANDS], base[ROMAN_MAX_BANDS]; /* base: flux at A = 1, relative to the mean */
} lens_state;

#endif
