/* Light of bins along a straight trace onto its nodes, and the adjoint. Part of straight_trace_body.h. */

/* Places between nodes whose splines are worked out at once: where they are [nodes], the light of each in the lower
 * and the upper plane, the lower plane's node 0, and the bin that it is of. */
typedef struct {
    double at[QUEUE], low[QUEUE], up[QUEUE], *lower[QUEUE];
    int64_t bin[QUEUE];
    int count;
} AT_LEVEL(queue);

static void AT_LEVEL(empty)(straight *s, AT_LEVEL(queue) * q, int forward)
{
    double w[TAPS][QUEUE];
    int32_t node[QUEUE];
    int64_t next = s->rows * s->profile->over_y;
    for (int l = q->count; l < QUEUE; l++) q->at[l] = 0;
    for (int l = 0; l < QUEUE; l++) {
        double whole = floor(q->at[l]), v[TAPS];
        AT_LEVEL(spline)(q->at[l] - whole, v);
        node[l] = (int32_t)whole;
        for (int i = 0; i < TAPS; i++) w[i][l] = v[i];
    }
    for (int l = 0; l < q->count; l++) {
        double *restrict lower = q->lower[l] + node[l] - BEFORE, *restrict upper = lower + next, sum = 0;
        double low = q->low[l], up = q->up[l];
        if (forward) {
            for (int i = 0; i < TAPS; i++) lower[i] = fma(low, w[i][l], lower[i]);
            for (int i = 0; up != 0 && i < TAPS; i++) upper[i] = fma(up, w[i][l], upper[i]);
        } else {
            for (int i = 0; i < TAPS; i++) sum = fma(low * w[i][l], lower[i], sum);
            for (int i = 0; up != 0 && i < TAPS; i++) sum = fma(up * w[i][l], upper[i], sum);
            s->light[q->bin[l]] += sum;
        }
    }
    q->count = 0;
}

/* Light onto the nodes along the trace, or nodes gathered into light; as in dispersion_body.h, in one dimension. */
static void AT_LEVEL(light_and_nodes)(straight *s, int forward)
{
    const roman_profile *p = s->profile;
    const roman_trace *t = s->trace;
    int64_t nodes = s->rows * p->over_y, begin = s->first * p->over_y;
    AT_LEVEL(queue) q;
    q.count = 0;
    for (int64_t bin = 0; bin < t->bins; bin++) {
        if (!forward) s->light[bin] = 0;
        else if (s->light[bin] == 0) continue;
        double y = t->y[bin] * p->over_y, dy = t->y[bin + 1] * p->over_y - y;
        int pieces = 1 + (int)(0.8 * fabs(dy));
        double each = (forward ? s->light[bin] : 1) / (2 * pieces), up = each * t->share[bin];
        for (int k = 0; k < 2 * pieces; k++) {
            int l = q.count++;
            q.at[l] = fma((k / 2 + (k % 2 ? 0.78867513459481288 : 0.21132486540518712)) / pieces, dy, y);
            q.low[l] = each - up;
            q.up[l] = up;
            q.lower[l] = s->nodes + t->plane[bin] * nodes - begin;
            q.bin[l] = bin;
            if (q.count == QUEUE) AT_LEVEL(empty)(s, &q, forward);
        }
    }
    if (q.count) AT_LEVEL(empty)(s, &q, forward);
}

/* The nodes' light in float32, the nodes of a row apart. */
static void AT_LEVEL(weights_of_nodes)(straight *s)
{
    const roman_profile *p = s->profile;
    for (int64_t plane = 0; plane < p->planes; plane++) {
        for (int64_t ky = 0; ky < p->over_y; ky++) {
            const double *restrict from = s->nodes + plane * s->rows * p->over_y + ky;
            float *restrict to = s->weights + (plane * p->over_y + ky) * s->rows;
            for (int64_t row = s->low[plane] - s->first; row < s->high[plane] - s->first; row++) {
                to[row] = (float)from[row * p->over_y];
            }
        }
    }
}
