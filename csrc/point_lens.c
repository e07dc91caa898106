#include "point_lens.h"

#include "cholesky.h"
#include "lens_work.h"
#include "paczynski.h"

#define KERNEL_BODY "point_lens_body.h"
#include "levels.h"

static int delimits(int64_t n, const int64_t *start)
{
    if (start[0] != 0) return 0;
    for (int64_t i = 0; i < n; i++) {
        if (start[i + 1] < start[i]) return 0;
    }
    return 1;
}

int roman_point_lens_fit(const roman_lens_options *options, int64_t n_curves, int32_t n_bands,
                         const int64_t *start, const double *time, const double *flux,
                         const double *weight, const int64_t *seed_start, const double *seed_t0,
                         const double *seed_teff, double *theta, double *fs, double *fb,
                         double *chi2, double *chi2_flat, double *covariance, int32_t *flags,
                         int32_t *iterations, int32_t level)
{
    if (n_curves < 0 || n_bands < 1 || n_bands > ROMAN_MAX_BANDS || options->n_u0 < 1 ||
        !(options->tolerance > 0) || options->max_iterations < 1 || !(options->te_min > 0) ||
        !(options->te_max > options->te_min) || !(options->u0_max > 0) ||
        !delimits(n_curves * n_bands, start) || !delimits(n_curves, seed_start)) {
        return ROMAN_ERR_ARGUMENT;
    }
    for (int32_t i = 0; i < options->n_u0; i++) {
        if (!(options->u0[i] > 0)) return ROMAN_ERR_ARGUMENT;
    }
    lens_data data = {n_bands, start, time, flux, weight, seed_start, seed_t0, seed_teff};
    lens_result result = {theta, fs, fb, chi2, chi2_flat, covariance, flags, iterations};
    return DISPATCH(level, point_lens_fit, options, n_curves, &data, &result);
}

int roman_point_lens_excess(int64_t n, const double *time, double t0, double u0, double te,
                            double *excess, int32_t level)
{
    if (n < 0 || !(te > 0) || !isfinite(t0) || !isfinite(u0)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, point_lens_excess, n, time, t0, u0, te, excess);
}
