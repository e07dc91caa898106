/* Covariance at the minimum of point_lens.c. Part of point_lens_body.h. */

/* Inverse of the n x n matrix a, scaled by its diagonal; 0 where it is not positive definite. */
static int AT_LEVEL(lens_invert)(int n, double a[][LENS_MAX_PARAMETERS],
                                 double inverse[][LENS_MAX_PARAMETERS])
{
    const cholesky_rule rule = {.least = LENS_LEAST_PIVOT};
    double L[LENS_MAX_PARAMETERS][LENS_MAX_PARAMETERS], scale[LENS_MAX_PARAMETERS];
    for (int i = 0; i < n; i++) {
        if (!(a[i][i] > 0)) return 0;
        scale[i] = 1.0 / sqrt(a[i][i]);
    }
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) L[i][j] = a[i][j] * scale[i] * scale[j];
    }
    if (!cholesky_factor(rule, n, LENS_MAX_PARAMETERS, L[0])) return 0;
    for (int column = 0; column < n; column++) {
        double v[LENS_MAX_PARAMETERS];
        for (int i = 0; i < n; i++) v[i] = i == column;
        cholesky_solve(rule, n, LENS_MAX_PARAMETERS, L[0], v);
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
