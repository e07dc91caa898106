/* Levenberg and Marquardt's way to the minimum of the reduced problem. Part of point_lens_body.h. */

/* Solves (H + lambda diag H) step = g; 0 where it is not positive definite. */
static int AT_LEVEL(lens_step)(const lens_state *s, double lambda, double step[3])
{
    const cholesky_rule rule = {.least = LENS_LEAST_PIVOT};
    double L[3][3], scale[3];
    for (int i = 0; i < 3; i++) {
        if (!(s->matrix[i][i] > 0)) return 0;
        scale[i] = 1.0 / sqrt(s->matrix[i][i]);
    }
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j <= i; j++) L[i][j] = s->matrix[i][j] * scale[i] * scale[j] + (i == j ? lambda : 0.0);
        step[i] = s->gradient[i] * scale[i];
    }
    if (!cholesky_factor(rule, 3, 3, L[0])) return 0;
    cholesky_solve(rule, 3, 3, L[0], step);
    for (int i = 0; i < 3; i++) step[i] *= scale[i];
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
