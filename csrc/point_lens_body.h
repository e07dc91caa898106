/* Body of point_lens.c, compiled once per vector level (levels.h). */

#ifndef LENS_SMALLEST_U2
/* Sums over a band, with m = A - 1, d = dm / d(u^2), k the power of (t - t0) / tE:
 * w m, w m m, w m f; w d^(k), w m d^(k), w f d^(k) for k = 0..2; w d d^(k) for k = 0..4. */
enum { S_M, S_MM, S_FM, S_D, S_MD = S_D + 3, S_FD = S_MD + 3, S_DD = S_FD + 3, LENS_SUMS = S_DD + 5 };
#define LENS_SMALLEST_U2 1e-20
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

/* The sums of one band in one pass. */
static void AT_LEVEL(lens_pass)(const lens_band *b, double t0, double u0, double te,
                                double sums[LENS_SUMS])
{
    const double *restrict time = b->time, *restrict flux = b->flux, *restrict weight = b->weight;
    double inverse = 1.0 / te, floor2 = fma(u0, u0, LENS_SMALLEST_U2);
    double a0[LANES], a1[LANES], a2[LANES], a3[LANES], a4[LANES], a5[LANES], a6[LANES], a7[LANES],
        a8[LANES], a9[LANES], a10[LANES], a11[LANES], a12[LANES], a13[LANES], a14[LANES], a15[LANES],
        a16[LANES];
    for (int l = 0; l < LANES; l++) {
        a0[l] = a1[l] = a2[l] = a3[l] = a4[l] = a5[l] = a6[l] = a7[l] = a8[l] = a9[l] = a10[l] =
            a11[l] = a12[l] = a13[l] = a14[l] = a15[l] = a16[l] = 0;
    }
    for (int64_t i = 0; i < b->padded; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            double tau = (time[i + l] - t0) * inverse, w = weight[i + l], f = flux[i + l];
            double x = fma(tau, tau, floor2), y = x + 2.0;
            double s = sqrt(x * (x + 4.0)), z = y + s;
            /* A - 1 = 4 / (s (x + 2 + s)): no cancellation far from the lens. */
            double q = 1.0 / (z * s), m = 4.0 * q, r = q * z;
            double d = -4.0 * r * r * r;
            double wm = w * m, wd = w * d, wd1 = wd * tau, wd2 = wd1 * tau, d1 = d * tau, d2 = d1 * tau;
            a0[l] += wm;
            a1[l] = fma(wm, m, a1[l]);
            a2[l] = fma(wm, f, a2[l]);
            a3[l] += wd;
            a4[l] += wd1;
            a5[l] += wd2;
            a6[l] = fma(wd, m, a6[l]);
            a7[l] = fma(wd1, m, a7[l]);
            a8[l] = fma(wd2, m, a8[l]);
            a9[l] = fma(wd, f, a9[l]);
            a10[l] = fma(wd1, f, a10[l]);
            a11[l] = fma(wd2, f, a11[l]);
            a12[l] = fma(wd, d, a12[l]);
            a13[l] = fma(wd1, d, a13[l]);
            a14[l] = fma(wd1, d1, a14[l]);
            a15[l] = fma(wd2, d1, a15[l]);
            a16[l] = fma(wd2, d2, a16[l]);
        }
    }
    sums[S_M] = LANES_SUM(a0);
    sums[S_MM] = LANES_SUM(a1);
    sums[S_FM] = LANES_SUM(a2);
    sums[S_D] = LANES_SUM(a3);
    sums[S_D + 1] = LANES_SUM(a4);
    sums[S_D + 2] = LANES_SUM(a5);
    sums[S_MD] = LANES_SUM(a6);
    sums[S_MD + 1] = LANES_SUM(a7);
    sums[S_MD + 2] = LANES_SUM(a8);
    sums[S_FD] = LANES_SUM(a9);
    sums[S_FD + 1] = LANES_SUM(a10);
    sums[S_FD + 2] = LANES_SUM(a11);
    sums[S_DD] = LANES_SUM(a12);
    sums[S_DD + 1] = LANES_SUM(a13);
    sums[S_DD + 2] = LANES_SUM(a14);
    sums[S_DD + 3] = LANES_SUM(a15);
    sums[S_DD + 4] = LANES_SUM(a16);
}

static const int AT_LEVEL(power)[3] = {1, 0, 2}; /* of tau in the derivatives by t0, u0, log tE */

/* Adds one band to the reduced problem; returns 0 where the model is flat over its points. */
static int AT_LEVEL(lens_reduce)(const lens_band *b, int free_blend, const double S[LENS_SUMS],
                                 const double chain[3], lens_state *state, int k)
{
    const int *e = AT_LEVEL(power);
    double W = b->sum_w, fs, cross[3], ones[3];
    if (free_blend) {
        double m_mean = S[S_M] / W, spread = fma(-S[S_M], m_mean, S[S_MM]);
        if (!(spread > 1e-14 * S[S_MM]) || !(S[S_MM] > 0)) return 0;
        fs = S[S_FM] / spread; /* weighted fluxes sum to zero */
        state->base[k] = -fs * m_mean;
        state->fs[k] = fs;
        state->chi2 += b->sum_wff - fs * S[S_FM];
        double root = sqrt(spread), root_w = sqrt(W);
        for (int j = 0; j < 3; j++) {
            double md = S[S_MD + e[j]], d = S[S_D + e[j]];
            state->gradient[j] +=
                fs * chain[j] * (S[S_FD + e[j]] - fs * md - state->base[k] * d);
            cross[j] = fma(-m_mean, d, md) / root;
            ones[j] = d / root_w;
        }
    } else {
        double aa = W + 2.0 * S[S_M] + S[S_MM];
        double fa = S[S_FM] + b->mean * (W + S[S_M]), root = sqrt(aa);
        fs = fa / aa;
        state->base[k] = fs - b->mean;
        state->fs[k] = fs;
        state->chi2 += fma(b->mean * b->mean, W, b->sum_wff) - fs * fa;
        for (int j = 0; j < 3; j++) {
            double ad = S[S_D + e[j]] + S[S_MD + e[j]];
            double fd = S[S_FD + e[j]] + b->mean * S[S_D + e[j]];
            state->gradient[j] += fs * chain[j] * (fd - fs * ad);
            cross[j] = ad / root;
            ones[j] = 0;
        }
    }
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            double h = S[S_DD + e[i] + e[j]] - cross[i] * cross[j] - ones[i] * ones[j];
            state->matrix[i][j] += fs * fs * chain[i] * chain[j] * h;
        }
    }
    return 1;
}

/* chi2, gradient and matrix of the reduced problem; chi2 is infinite where it cannot be solved. */
static void AT_LEVEL(lens_evaluate)(const lens_curve *c, const lens_point *p, lens_state *state)
{
    double te = exp(p->log_te), chain[3] = {-2.0 / te, 2.0 * p->u0, -2.0};
    memset(state, 0, sizeof *state);
    int informative = 0;
    for (int k = 0; k < c->n_bands; k++) {
        const lens_band *b = c->band + k;
        if (b->n == 0) continue;
        double sums[LENS_SUMS];
        AT_LEVEL(lens_pass)(b, p->t0, p->u0, te, sums);
        int used = AT_LEVEL(lens_reduce)(b, c->free_blend, sums, chain, state, k);
        if (!used) state->chi2 += b->sum_wff; /* the event is outside this band's points */
        informative += used;
    }
    if (!informative || !isfinite(state->chi2)) state->chi2 = INFINITY;
}

/* Solves (H + lambda diag H) step = g; 0 where it is not positive definite. */
static int AT_LEVEL(lens_step)(const lens_state *s, double lambda, double step[3])
{
    double L[3][3], scale[3], v[3];
    for (int i = 0; i < 3; i++) {
        if (!(s->matrix[i][i] > 0)) return 0;
        scale[i] = 1.0 / sqrt(s->matrix[i][i]);
    }
    for (int j = 0; j < 3; j++) {
        for (int i = j; i < 3; i++) {
            double a = s->matrix[i][j] * scale[i] * scale[j] + (i == j ? lambda : 0.0);
            for (int q = 0; q < j; q++) a -= L[i][q] * L[j][q];
            if (i == j) {
                if (!(a > 1e-13)) return 0;
                L[i][i] = sqrt(a);
            } else {
                L[i][j] = a / L[j][j];
            }
        }
    }
    for (int i = 0; i < 3; i++) {
        v[i] = s->gradient[i] * scale[i];
        for (int q = 0; q < i; q++) v[i] -= L[i][q] * v[q];
        v[i] /= L[i][i];
    }
    for (int i = 2; i >= 0; i--) {
        for (int q = i + 1; q < 3; q++) v[i] -= L[q][i] * v[q];
        v[i] /= L[i][i];
    }
    for (int i = 0; i < 3; i++) step[i] = v[i] * scale[i];
    return isfinite(step[0]) && isfinite(step[1]) && isfinite(step[2]);
}

static double AT_LEVEL(clamp)(double v, double low, double high, int *bound)
{
    if (v < low || v > high) *bound = 1;
    return v < low ? low : v > high ? high : v;
}

/* Levenberg-Marquardt from *p, which ends at the minimum; returns flags. */
static int AT_LEVEL(lens_minimise)(const roman_lens_options *o, const lens_curve *c, double tolerance,
                                   lens_point *p, lens_state *state, int32_t *passes)
{
    double lambda = 1e-3, span = c->last - c->first;
    int at_bound = 0;
    AT_LEVEL(lens_evaluate)(c, p, state);
    for (int32_t i = 1; i < o->max_iterations && isfinite(state->chi2); i++) {
        double step[3];
        while (!AT_LEVEL(lens_step)(state, lambda, step) && lambda < 1e8) lambda = 10 * lambda + 1e-6;
        if (!(lambda < 1e8)) break;
        double expected = 0;
        for (int j = 0; j < 3; j++) expected += state->gradient[j] * step[j];
        if (expected < tolerance + 1e-13 * state->chi2 && lambda <= 1e-2) {
            return at_bound ? ROMAN_FIT_AT_BOUND : ROMAN_FIT_CONVERGED;
        }
        /* No step leaves the neighbourhood where the linear model can hold. */
        double te = exp(p->log_te), reach = 2.0 * te * (p->u0 + 0.05), shrink = 1.0;
        if (fabs(step[0]) * shrink > reach) shrink = reach / fabs(step[0]);
        if (fabs(step[1]) * shrink > 0.5 * p->u0 + 0.2) shrink = (0.5 * p->u0 + 0.2) / fabs(step[1]);
        if (fabs(step[2]) * shrink > 0.7) shrink = 0.7 / fabs(step[2]);
        lens_point next = *p;
        int bound = 0;
        next.t0 = AT_LEVEL(clamp)(p->t0 + shrink * step[0], c->first - span - 1, c->last + span + 1,
                                  &bound);
        next.u0 = AT_LEVEL(clamp)(fabs(p->u0 + shrink * step[1]), 1e-9, o->u0_max, &bound);
        next.log_te = AT_LEVEL(clamp)(p->log_te + shrink * step[2], log(o->te_min), log(o->te_max),
                                      &bound);
        lens_state trial;
        AT_LEVEL(lens_evaluate)(c, &next, &trial);
        ++*passes;
        if (trial.chi2 < state->chi2) {
            int stalled = bound && state->chi2 - trial.chi2 < tolerance;
            *p = next;
            *state = trial;
            at_bound = bound;
            lambda = lambda > 1e-9 ? 0.1 * lambda : 0;
            if (stalled) return ROMAN_FIT_AT_BOUND;
        } else if (lambda > 1e5) {
            /* Not even a tiny step helps: the minimum, to rounding, if little was expected. */
            if (bound) return ROMAN_FIT_AT_BOUND;
            return expected < 1e3 * tolerance + 1e-9 * state->chi2 ? ROMAN_FIT_CONVERGED : 0;
        } else {
            lambda = lambda > 1e-4 ? 10 * lambda : 1e-3;
        }
    }
    return at_bound ? ROMAN_FIT_AT_BOUND : 0;
}

/* Sum of weights and mean flux; fluxes become relative to the mean. Pads with weight 0. */
static void AT_LEVEL(lens_finish_band)(lens_band *b)
{
    double sw = 0, swf = 0, sff = 0;
    b->padded = (b->n + LANES - 1) / LANES * LANES;
    for (int64_t i = 0; i < b->n; i++) {
        sw += b->weight[i];
        swf = fma(b->weight[i], b->flux[i], swf);
    }
    b->sum_w = sw;
    b->mean = b->n ? swf / sw : 0;
    for (int64_t i = 0; i < b->n; i++) {
        b->flux[i] -= b->mean;
        sff = fma(b->weight[i] * b->flux[i], b->flux[i], sff);
    }
    b->sum_wff = sff;
    for (int64_t i = b->n; i < b->padded; i++) {
        b->time[i] = b->n ? b->time[b->n - 1] : 0;
        b->flux[i] = b->weight[i] = 0;
    }
}

/* Bins of a curve for one seed: narrow at its peak, wider away from it. The scatter inside bins is kept in
 * sum_wff, so that chi2 of different binnings compare. */
static void AT_LEVEL(lens_bin)(const lens_curve *full, double t0, double teff, lens_curve *coarse)
{
    coarse->n_bands = full->n_bands;
    coarse->free_blend = full->free_blend;
    coarse->first = full->first;
    coarse->last = full->last;
    for (int k = 0; k < full->n_bands; k++) {
        const lens_band *b = full->band + k;
        lens_band *c = coarse->band + k;
        int64_t n = 0;
        for (int64_t i = 0; i < b->n;) {
            double from = b->time[i], narrow = teff / 12, wide = fabs(from - t0) / 24;
            double until = from + (narrow > wide ? narrow : wide), sw = 0, swt = 0, swf = 0;
            for (; i < b->n && b->time[i] <= until; i++) {
                sw += b->weight[i];
                swt = fma(b->weight[i], b->time[i] - from, swt);
                swf = fma(b->weight[i], b->flux[i], swf);
            }
            c->time[n] = from + swt / sw;
            c->flux[n] = swf / sw;
            c->weight[n++] = sw;
        }
        c->n = n;
        AT_LEVEL(lens_finish_band)(c);
        c->mean = b->mean; /* the fluxes are relative to it already, to rounding */
        c->sum_wff = b->sum_wff;
    }
}

/* chi2 of the single points, by residuals. */
static double AT_LEVEL(lens_chi2)(const lens_band *b, const lens_point *p, double fs, double base)
{
    double inverse = exp(-p->log_te), floor2 = fma(p->u0, p->u0, LENS_SMALLEST_U2), acc[LANES];
    LANES_ZERO(acc);
    for (int64_t i = 0; i < b->padded; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            double tau = (b->time[i + l] - p->t0) * inverse;
            double x = fma(tau, tau, floor2), s = sqrt(x * (x + 4.0));
            double r = b->flux[i + l] - base - fs * (4.0 / (s * (x + 2.0 + s)));
            acc[l] = fma(b->weight[i + l] * r, r, acc[l]);
        }
    }
    return LANES_SUM(acc);
}

/* Inverse of the n x n matrix a, scaled by its diagonal; 0 where it is not positive definite. */
static int AT_LEVEL(lens_invert)(int n, double a[][LENS_MAX_PARAMETERS],
                                 double inverse[][LENS_MAX_PARAMETERS])
{
    double L[LENS_MAX_PARAMETERS][LENS_MAX_PARAMETERS], scale[LENS_MAX_PARAMETERS];
    for (int i = 0; i < n; i++) {
        if (!(a[i][i] > 0)) return 0;
        scale[i] = 1.0 / sqrt(a[i][i]);
    }
    for (int j = 0; j < n; j++) {
        for (int i = j; i < n; i++) {
            double v = a[i][j] * scale[i] * scale[j];
            for (int q = 0; q < j; q++) v -= L[i][q] * L[j][q];
            if (i == j) {
                if (!(v > 1e-13)) return 0;
                L[i][i] = sqrt(v);
            } else {
                L[i][j] = v / L[j][j];
            }
        }
    }
    for (int column = 0; column < n; column++) {
        double v[LENS_MAX_PARAMETERS];
        for (int i = 0; i < n; i++) {
            v[i] = i == column;
            for (int q = 0; q < i; q++) v[i] -= L[i][q] * v[q];
            v[i] /= L[i][i];
        }
        for (int i = n - 1; i >= 0; i--) {
            for (int q = i + 1; q < n; q++) v[i] -= L[q][i] * v[q];
            v[i] /= L[i][i];
        }
        for (int i = 0; i < n; i++) inverse[i][column] = v[i] * scale[i] * scale[column];
    }
    return 1;
}

/* Covariance of (t0, u0, tE, fs.., fb..). Solved in (t0, u0, tE, fs.., base..), where base = fs + fb is what
 * the data measure best, then transformed. */
static int AT_LEVEL(lens_covariance)(const lens_curve *c, const lens_point *p, const lens_state *state,
                                     double *covariance)
{
    int bands = c->n_bands, full = 3 + 2 * bands, row_of[LENS_MAX_PARAMETERS], n = 3;
    double te = exp(p->log_te), chain[3] = {-2.0 / te, 2.0 * p->u0, -2.0 / te};
    double N[LENS_MAX_PARAMETERS][LENS_MAX_PARAMETERS], C[LENS_MAX_PARAMETERS][LENS_MAX_PARAMETERS];
    const int *e = AT_LEVEL(power);
    memset(N, 0, sizeof N);
    memset(C, 0, sizeof C);
    for (int i = 0; i < full; i++) row_of[i] = i < 3 ? i : -1;
    for (int kind = 0; kind < (c->free_blend ? 2 : 1); kind++) {
        for (int k = 0; k < bands; k++) {
            if (c->band[k].n) row_of[3 + kind * bands + k] = n++;
        }
    }
    for (int k = 0; k < bands; k++) {
        const lens_band *b = c->band + k;
        if (b->n == 0) continue;
        double S[LENS_SUMS], fs = state->fs[k];
        int rs = row_of[3 + k], rb = row_of[3 + bands + k];
        AT_LEVEL(lens_pass)(b, p->t0, p->u0, te, S);
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) N[i][j] += fs * fs * chain[i] * chain[j] * S[S_DD + e[i] + e[j]];
            double with_fs = fs * chain[i] * (S[S_MD + e[i]] + (c->free_blend ? 0 : S[S_D + e[i]]));
            N[i][rs] = N[rs][i] = with_fs;
            if (c->free_blend) N[i][rb] = N[rb][i] = fs * chain[i] * S[S_D + e[i]];
        }
        if (c->free_blend) {
            N[rs][rs] = S[S_MM];
            N[rs][rb] = N[rb][rs] = S[S_M];
            N[rb][rb] = b->sum_w;
        } else {
            N[rs][rs] = S[S_MM] + 2 * S[S_M] + b->sum_w;
        }
    }
    int ok = AT_LEVEL(lens_invert)(n, N, C);
    for (int i = 0; i < full; i++) {
        for (int j = 0; j < full; j++) {
            double v = 0;
            /* fb = base - fs */
            int bi = i >= 3 + bands, bj = j >= 3 + bands;
            int ri = row_of[i], rj = row_of[j];
            int si = bi ? row_of[i - bands] : -1, sj = bj ? row_of[j - bands] : -1;
            if (ri >= 0 && rj >= 0) {
                v = C[ri][rj];
                if (bi) v -= C[si][rj];
                if (bj) v -= C[ri][sj];
                if (bi && bj) v += C[si][sj];
                if (!ok) v = NAN;
            }
            covariance[i * full + j] = v;
        }
    }
    return ok;
}

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

static int AT_LEVEL(lens_allocate)(lens_curve *c, int bands, const int64_t *longest)
{
    int ok = 1;
    memset(c, 0, sizeof *c);
    for (int k = 0; k < bands; k++) {
        size_t bytes = (size_t)(longest[k] + LANES) * sizeof(double);
        c->band[k].time = malloc(bytes);
        c->band[k].flux = malloc(bytes);
        c->band[k].weight = malloc(bytes);
        ok = ok && c->band[k].time && c->band[k].flux && c->band[k].weight;
    }
    return ok;
}

static void AT_LEVEL(lens_release)(lens_curve *c, int bands)
{
    for (int k = 0; k < bands; k++) {
        free(c->band[k].time);
        free(c->band[k].flux);
        free(c->band[k].weight);
    }
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
        double tau = (time[i] - t0) * inverse;
        double x = fma(tau, tau, floor2), s = sqrt(x * (x + 4.0));
        excess[i] = 4.0 / (s * (x + 2.0 + s));
    }
    return ROMAN_OK;
}
