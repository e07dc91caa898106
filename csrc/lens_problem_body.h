/* The reduced problem of point_lens.c: chi2, gradient and matrix at a point. Part of point_lens_body.h. */

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
            double d, m = paczynski_excess(fma(tau, tau, floor2), &d);
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

/* chi2 of the single points, by residuals. */
static double AT_LEVEL(lens_chi2)(const lens_band *b, const lens_point *p, double fs, double base)
{
    double inverse = exp(-p->log_te), floor2 = fma(p->u0, p->u0, LENS_SMALLEST_U2), acc[LANES];
    LANES_ZERO(acc);
    for (int64_t i = 0; i < b->padded; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            double tau = (b->time[i + l] - p->t0) * inverse;
            double slope, r = b->flux[i + l] - base - fs * paczynski_excess(fma(tau, tau, floor2), &slope);
            acc[l] = fma(b->weight[i + l] * r, r, acc[l]);
        }
    }
    return LANES_SUM(acc);
}
