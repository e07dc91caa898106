/* Body of point_lens.c, compiled once per vector level (levels.h). */
#include "lens_curve_body.h"
#include "lens_problem_body.h"
#include "lens_minimum_body.h"
#include "lens_covariance_body.h"

/* Best of all seeds and start values of u0; *best is the start of the final fit. */
static int AT_LEVEL(lens_starts)(const roman_lens_options *o, const lens_curve *full,
                                 lens_curve *coarse, int64_t n_seeds, const double *seed_t0,
                                 const double *seed_teff, lens_point *best, int32_t *passes)
{
    int64_t points = 0;
    for (int k = 0; k < full->n_bands; k++) points += full->band[k].n;
    int use_bins = points > o->coarse_above, found = 0;
    double lowest = INFINITY;
    for (int64_t i = 0; i < n_seeds; i++) {
        if (!isfinite(seed_t0[i]) || !(seed_teff[i] > 0)) continue;
        const lens_curve *c = full;
        if (use_bins) {
            AT_LEVEL(lens_bin)(full, seed_t0[i], seed_teff[i], coarse);
            c = coarse;
        }
        for (int32_t j = 0; j < o->n_u0; j++) {
            int bound = 0;
            int32_t uncounted = 0;
            double te = AT_LEVEL(clamp)(seed_teff[i] / o->u0[j], o->te_min, o->te_max, &bound);
            lens_point p = {seed_t0[i], o->u0[j], log(te)};
            lens_state state;
            AT_LEVEL(lens_minimise)(o, c, 1e-3 + o->tolerance, &p, &state,
                                    use_bins ? &uncounted : passes);
            /* A dip (negative source) is taken only where nothing else fits at all. */
            double chi2 = state.chi2;
            for (int k = 0; k < full->n_bands; k++) {
                if (state.fs[k] < 0 && full->band[k].n) chi2 = fmax(chi2, 0.5e300 + 1e-6 * chi2);
            }
            if (chi2 < lowest) {
                lowest = chi2;
                *best = p;
                found = 1;
            }
        }
    }
    return found;
}

static void AT_LEVEL(lens_one)(const roman_lens_options *o, const lens_data *data, int64_t curve,
                               lens_curve *full, lens_curve *coarse, const lens_result *out)
{
    int bands = data->n_bands, size = 3 + 2 * bands, parameters = 3;
    int64_t points = 0;
    full->n_bands = bands;
    full->free_blend = o->free_blend != 0;
    full->first = INFINITY;
    full->last = -INFINITY;
    double flat = 0;
    for (int k = 0; k < bands; k++) {
        lens_band *b = full->band + k;
        int64_t from = data->start[curve * bands + k];
        b->n = data->start[curve * bands + k + 1] - from;
        size_t bytes = (size_t)b->n * sizeof(double);
        memcpy(b->time, data->time + from, bytes);
        memcpy(b->flux, data->flux + from, bytes);
        memcpy(b->weight, data->weight + from, bytes);
        AT_LEVEL(lens_finish_band)(b);
        flat += b->sum_wff;
        points += b->n;
        if (b->n == 0) continue;
        parameters += full->free_blend ? 2 : 1;
        full->first = fmin(full->first, b->time[0]);
        full->last = fmax(full->last, b->time[b->n - 1]);
    }
    double *theta = out->theta + 3 * curve, *covariance = out->covariance + curve * size * size;
    theta[0] = theta[1] = theta[2] = out->chi2[curve] = NAN;
    out->chi2_flat[curve] = flat;
    out->flags[curve] = out->iterations[curve] = 0;
    for (int i = 0; i < size * size; i++) covariance[i] = NAN;
    for (int k = 0; k < bands; k++) out->fs[curve * bands + k] = out->fb[curve * bands + k] = NAN;
    int64_t from = data->seed_start[curve], n_seeds = data->seed_start[curve + 1] - from;
    lens_point p;
    if (points < parameters ||
        !AT_LEVEL(lens_starts)(o, full, coarse, n_seeds, data->seed_t0 + from,
                               data->seed_teff + from, &p, out->iterations + curve)) {
        return;
    }
    lens_state state;
    int flags = AT_LEVEL(lens_minimise)(o, full, o->tolerance, &p, &state, out->iterations + curve);
    double chi2 = 0;
    for (int k = 0; k < bands; k++) {
        const lens_band *b = full->band + k;
        int64_t at = curve * bands + k;
        out->fs[at] = state.fs[k];
        out->fb[at] = full->free_blend && b->n ? b->mean + state.base[k] - state.fs[k] : 0;
        if (state.fs[k] < 0) flags |= ROMAN_FIT_NEGATIVE_SOURCE;
        chi2 += AT_LEVEL(lens_chi2)(b, &p, state.fs[k], state.base[k]);
    }
    theta[0] = p.t0;
    theta[1] = p.u0;
    theta[2] = exp(p.log_te);
    out->chi2[curve] = chi2;
    if (!AT_LEVEL(lens_covariance)(full, &p, &state, covariance)) flags |= ROMAN_FIT_SINGULAR;
    out->flags[curve] = flags;
}

static int AT_LEVEL(point_lens_fit)(const roman_lens_options *o, int64_t n_curves,
                                    const lens_data *data, const lens_result *out)
{
    int bands = data->n_bands;
    int64_t longest[ROMAN_MAX_BANDS] = {0};
    for (int64_t i = 0; i < n_curves * bands; i++) {
        int64_t n = data->start[i + 1] - data->start[i];
        if (n > longest[i % bands]) longest[i % bands] = n;
    }
    lens_curve full, coarse;
    int ok = AT_LEVEL(lens_allocate)(&full, bands, longest);
    ok = AT_LEVEL(lens_allocate)(&coarse, bands, longest) && ok;
    for (int64_t i = 0; ok && i < n_curves; i++) AT_LEVEL(lens_one)(o, data, i, &full, &coarse, out);
    AT_LEVEL(lens_release)(&full, bands);
    AT_LEVEL(lens_release)(&coarse, bands);
    return ok ? ROMAN_OK : ROMAN_ERR_MEMORY;
}

static int AT_LEVEL(point_lens_excess)(int64_t n, const double *time, double t0, double u0, double te,
                                       double *excess)
{
    double inverse = 1.0 / te, floor2 = fma(u0, u0, LENS_SMALLEST_U2);
    for (int64_t i = 0; i < n; i++) {
        double slope, tau = (time[i] - t0) * inverse;
        excess[i] = paczynski_excess(fma(tau, tau, floor2), &slope);
    }
    return ROMAN_OK;
}
