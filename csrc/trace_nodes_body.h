/* Light of bins along a straight trace onto its nodes, and the adjoint; as in dispersion_body.h, in one dimension. Part
 * of straight_trace_body.h. */

/* Places between nodes whose splines are worked out at once: where they are [nodes], the light of each in the lower and
 * in the upper plane, and the bin that it is of. */
typedef struct {
    double at[QUEUE], low[QUEUE], up[QUEUE], weight[TAPS][QUEUE];
    int64_t node[QUEUE], bin[QUEUE];
    int count;
} AT_LEVEL(queue);

/* Light on its way to the nodes from `node` - BEFORE on of a plane and of the next. */
typedef struct {
    double low[TAPS], up[TAPS], *lower, *upper;
    int64_t node, plane;
} AT_LEVEL(load);

static void AT_LEVEL(work_out)(AT_LEVEL(queue) * q)
{
    double whole[QUEUE];
    for (int l = q->count; l < QUEUE; l++) q->at[l] = 0;
    for (int l = 0; l < QUEUE; l++) {
        double v[TAPS];
        whole[l] = floor(q->at[l]);
        AT_LEVEL(spline)(q->at[l] - whole[l], v);
        for (int i = 0; i < TAPS; i++) q->weight[i][l] = v[i];
    }
    for (int l = 0; l < QUEUE; l++) q->node[l] = (int64_t)whole[l];
}

/* Goes to another place, where nothing is carried yet. */
static void AT_LEVEL(go_to)(straight *s, AT_LEVEL(load) * c, int64_t plane, int64_t node)
{
    for (int i = 0; i < TAPS; i++) c->low[i] = c->up[i] = 0;
    c->plane = plane;
    c->node = node;
    c->lower = s->nodes + (plane * s->rows - s->first) * s->profile->over_y + node - BEFORE;
    c->upper = c->lower + s->rows * s->profile->over_y;
}

static void AT_LEVEL(put_down)(AT_LEVEL(load) * c)
{
    for (int i = 0; i < TAPS; i++) c->lower[i] += c->low[i];
    for (int i = 0; i < TAPS; i++) c->upper[i] += c->up[i];
}

/* The places' light onto the nodes. Places follow each other along the trace: light is put down when they are past it. */
static void AT_LEVEL(carry)(straight *s, AT_LEVEL(load) * kept, const AT_LEVEL(queue) * q)
{
    AT_LEVEL(load) c = *kept;
    for (int l = 0; l < q->count; l++) {
        int64_t node = q->node[l], plane = s->trace->plane[q->bin[l]];
        if (plane != c.plane || node < c.node || node > c.node + TAPS) {
            AT_LEVEL(put_down)(&c);
            AT_LEVEL(go_to)(s, &c, plane, node);
        }
        for (; c.node < node; c.node++) {
            *c.lower++ += c.low[0];
            *c.upper++ += c.up[0];
            for (int i = 0; i < TAPS - 1; i++) c.low[i] = c.low[i + 1];
            for (int i = 0; i < TAPS - 1; i++) c.up[i] = c.up[i + 1];
            c.low[TAPS - 1] = c.up[TAPS - 1] = 0;
        }
        for (int i = 0; i < TAPS; i++) c.low[i] = fma(q->low[l], q->weight[i][l], c.low[i]);
        for (int i = 0; i < TAPS; i++) c.up[i] = fma(q->up[l], q->weight[i][l], c.up[i]);
    }
    *kept = c;
}

/* The nodes' light into the bins of the places. */
static void AT_LEVEL(collect)(const straight *s, const AT_LEVEL(queue) * q, double *light)
{
    const roman_profile *p = s->profile;
    for (int l = 0; l < q->count; l++) {
        int64_t plane = s->trace->plane[q->bin[l]];
        const double *lower = s->nodes + (plane * s->rows - s->first) * p->over_y + q->node[l] - BEFORE;
        const double *upper = lower + s->rows * p->over_y;
        double sum = 0;
        for (int i = 0; i < TAPS; i++) sum = fma(q->low[l] * q->weight[i][l], lower[i], sum);
        for (int i = 0; i < TAPS; i++) sum = fma(q->up[l] * q->weight[i][l], upper[i], sum);
        light[q->bin[l]] += sum;
    }
}

/* The places of a queue's worth of bins that rise by less than a node's spacing; 0 if one rises by more. */
static int AT_LEVEL(fill)(const straight *s, int64_t bin, int forward, AT_LEVEL(queue) * q)
{
    const double *y = s->trace->y + bin, *share = s->trace->share + bin, over = s->profile->over_y, *light = s->light + bin;
    double each[QUEUE / 2], steepest = 0, sum = 0;
    for (int l = 0; l < QUEUE / 2; l++) each[l] = forward ? 0.5 * light[l] : 0.5;
    for (int l = 0; l < QUEUE / 2; l++) {
        double y0 = y[l] * over, dy = y[l + 1] * over - y0, up = each[l] * share[l];
        q->at[2 * l] = fma(FIRST_PLACE, dy, y0);
        q->at[2 * l + 1] = fma(SECOND_PLACE, dy, y0);
        q->low[2 * l] = q->low[2 * l + 1] = each[l] - up;
        q->up[2 * l] = q->up[2 * l + 1] = up;
        q->bin[2 * l] = q->bin[2 * l + 1] = bin + l;
    }
    for (int l = 0; l < QUEUE / 2; l++) {
        double dy = (y[l + 1] - y[l]) * over;
        steepest = dy > steepest ? dy : steepest;
        sum += fabs(each[l]);
    }
    q->count = sum > 0 ? QUEUE : 0;
    return steepest < 1.2;
}

/* The places of one bin, in turn along the trace, from the k-th on as far as there is room; returns the next, or 0 if
 * none is left. */
static int AT_LEVEL(fill_one)(const straight *s, int64_t bin, int k, int forward, AT_LEVEL(queue) * q)
{
    const roman_trace *t = s->trace;
    int falling = t->y[1] < t->y[0];
    double y0 = t->y[bin + falling] * s->profile->over_y, dy = t->y[bin + !falling] * s->profile->over_y - y0;
    double light = forward ? s->light[bin] : 1;
    int pieces = 1 + (int)(0.8 * dy), end = light == 0 ? k : 2 * pieces;
    double size = 1.0 / pieces, each = 0.5 * size * light, up = each * t->share[bin];
    for (; k < end && q->count < QUEUE; k++) {
        int l = q->count++;
        q->at[l] = fma((k / 2 + (k % 2 ? SECOND_PLACE : FIRST_PLACE)) * size, dy, y0);
        q->low[l] = each - up;
        q->up[l] = up;
        q->bin[l] = bin;
    }
    return k < end ? k : 0;
}

static void AT_LEVEL(empty)(straight *s, AT_LEVEL(load) * c, AT_LEVEL(queue) * q, double *gathered)
{
    if (q->count == 0) return;
    AT_LEVEL(work_out)(q);
    if (gathered) AT_LEVEL(collect)(s, q, gathered);
    else AT_LEVEL(carry)(s, c, q);
    q->count = 0;
}

/* Light onto the nodes along the trace, or nodes gathered into light; bins are taken as they rise. */
static void AT_LEVEL(light_and_nodes)(straight *s, int forward)
{
    const roman_trace *t = s->trace;
    int64_t bins = t->bins, b = 0;
    int rising = t->y[1] > t->y[0];
    double *gathered = forward ? NULL : s->light;
    AT_LEVEL(queue) q;
    AT_LEVEL(load) c;
    AT_LEVEL(go_to)(s, &c, t->plane[0], s->first * s->profile->over_y + BEFORE);
    q.count = 0;
    if (gathered) memset(gathered, 0, (size_t)bins * sizeof *gathered);
    while (b < bins) {
        if (rising && b + QUEUE / 2 <= bins && AT_LEVEL(fill)(s, b, forward, &q)) {
            AT_LEVEL(empty)(s, &c, &q, gathered);
            b += QUEUE / 2;
            continue;
        }
        q.count = 0;
        for (int64_t end = b + QUEUE / 2 < bins ? b + QUEUE / 2 : bins; b < end; b++) {
            int64_t bin = rising ? b : bins - 1 - b;
            int k = 0;
            do {
                if (q.count == QUEUE) AT_LEVEL(empty)(s, &c, &q, gathered);
                k = AT_LEVEL(fill_one)(s, bin, k, forward, &q);
            } while (k > 0);
        }
        AT_LEVEL(empty)(s, &c, &q, gathered);
    }
    if (forward) AT_LEVEL(put_down)(&c);
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
