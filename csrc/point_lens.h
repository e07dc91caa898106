/* Fits of a point source and a point lens (Paczynski 1986) to light curves in one or several bands.
 *
 * F(t) = fs A(u) + fb with A = (u^2 + 2) / (u sqrt(u^2 + 4)) and u^2 = u0^2 + ((t - t0) / tE)^2.
 * Variable projection: at any (t0, u0, log tE) the source and blend fluxes of each band are solved for
 * exactly; Levenberg-Marquardt moves in the reduced problem, whose gradient and matrix come out of one pass
 * over the points. Every seed (t0, teff) is tried at several u0 with tE = teff / u0. Long curves are first
 * fitted on bins made for the seed, then on all their points: chi2, parameters and covariance are always
 * those of the single points.
 */
#ifndef ROMAN_POINT_LENS_H
#define ROMAN_POINT_LENS_H

#include <stdint.h>

#define ROMAN_MAX_BANDS 8

/* cffi: begin */
enum {
    ROMAN_FIT_CONVERGED = 1,     /* a further step would lower chi2 by less than the tolerance */
    ROMAN_FIT_AT_BOUND = 2,      /* u0, tE or t0 stopped at its bound */
    ROMAN_FIT_SINGULAR = 4,      /* no covariance: the data do not constrain all parameters */
    ROMAN_FIT_NEGATIVE_SOURCE = 8/* a source flux is negative */
};

typedef struct {
    int32_t free_blend;      /* 1: fb free in each band, 0: fb = 0 */
    int32_t n_u0;            /* start values of u0 */
    const double *u0;
    double tolerance;        /* expected decrease of chi2 at which the fit stops */
    int32_t max_iterations;  /* of each start */
    int64_t coarse_above;    /* curves with more points begin on bins */
    double te_min, te_max;   /* [d] */
    double u0_max;
} roman_lens_options;

/* Points lie curve by curve, band by band, in order of time: start [n_curves * n_bands + 1] delimits them.
 * time [d], flux, weight (1 / error^2 > 0). seed_start [n_curves + 1] delimits seed_t0, seed_teff [d].
 * Out: theta [n_curves][3] = t0, u0 > 0, tE; fs, fb [n_curves][n_bands]; chi2, chi2_flat [n_curves];
 * flags, iterations [n_curves]; covariance [n_curves][p][p], p = 3 + 2 n_bands, in the order t0, u0, tE,
 * fs of each band, fb of each band (rows and columns of fb zero where it is fixed; NaN where singular).
 * Bands without points get fs = fb = 0 and do not take part. A curve without seeds or with too few points
 * has NaN and flags 0. */
int roman_point_lens_fit(const roman_lens_options *options, int64_t n_curves, int32_t n_bands,
                         const int64_t *start, const double *time, const double *flux,
                         const double *weight, const int64_t *seed_start, const double *seed_t0,
                         const double *seed_teff, double *theta, double *fs, double *fb,
                         double *chi2, double *chi2_flat, double *covariance, int32_t *flags,
                         int32_t *iterations, int32_t level);

/* A - 1 at each time, accurate where the source is far from the lens. */
int roman_point_lens_excess(int64_t n, const double *time, double t0, double u0, double te,
                            double *excess, int32_t level);
/* cffi: end */

#endif
