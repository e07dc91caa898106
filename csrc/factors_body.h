/* A profile that is a sum of products: each factor along the trace is convolved with the light, and every row of pixels
 * is a sum of the factors across it. Part of straight_trace_body.h. */

/* Four rows of floats += sums of four others that begin `apart` floats after each other: the i-th has weight[i * next + k]
 * in the k-th. `count` is a multiple of ROMAN_STAMP_WIDTH. Written out, so that sums and weights stay in registers. */
static inline void AT_LEVEL(mix_into)(const float *from, int64_t apart, const float *weight, int64_t next, int64_t count,
                                      float *restrict first, float *restrict second, float *restrict third,
                                      float *restrict fourth)
{
    const float *one = weight, *two = one + next, *three = two + next, *four = three + next;
    float a0 = one[0], a1 = one[1], a2 = one[2], a3 = one[3];
    float b0 = two[0], b1 = two[1], b2 = two[2], b3 = two[3];
    float c0 = three[0], c1 = three[1], c2 = three[2], c3 = three[3];
    float d0 = four[0], d1 = four[1], d2 = four[2], d3 = four[3];
    for (int64_t i = 0; i < count; i += ROMAN_STAMP_WIDTH) {
        const float *a = from + i, *b = a + apart, *c = b + apart, *d = c + apart;
        float *p = first + i, *q = second + i, *r = third + i, *s = fourth + i;
        for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
            p[l] = fmaf(d0, d[l], fmaf(c0, c[l], fmaf(b0, b[l], fmaf(a0, a[l], p[l]))));
            q[l] = fmaf(d1, d[l], fmaf(c1, c[l], fmaf(b1, b[l], fmaf(a1, a[l], q[l]))));
            r[l] = fmaf(d2, d[l], fmaf(c2, c[l], fmaf(b2, b[l], fmaf(a2, a[l], r[l]))));
            s[l] = fmaf(d3, d[l], fmaf(c3, c[l], fmaf(b3, b[l], fmaf(a3, a[l], s[l]))));
        }
    }
}

/* The same into rows that begin `stride` floats after each other. */
static void AT_LEVEL(mix)(const float *from, int64_t apart, const float *weight, int64_t next, int64_t count, float *to,
                          int64_t stride)
{
    AT_LEVEL(mix_into)(from, apart, weight, next, count, to, to + stride, to + 2 * stride, to + 3 * stride);
}

/* Sums of the rows of pixels that a plane's nodes reach, [rank][span] from the first row on, += the nodes times the
 * factors along the trace. */
static void AT_LEVEL(convolve)(const straight *s, int64_t plane, float *sums, int64_t span)
{
    const roman_profile *p = s->profile;
    int64_t taps = taps_of(p), offset = s->cutout->row - p->row, rank = p->rank;
    int64_t from = s->low[plane] - offset, end = s->high[plane] + p->ny - 1 - offset;
    if (from < s->bottom) from = s->bottom;
    if (end > s->top) end = s->top;
    if (from >= end) return;
    int64_t count = (end - from + ROMAN_STAMP_WIDTH - 1) / ROMAN_STAMP_WIDTH * ROMAN_STAMP_WIDTH;
    for (int64_t ky = plane * p->over_y; ky < (plane + 1) * p->over_y; ky++) {
        const float *weight = s->weights + ky * s->rows + from + offset - s->first, *along = p->along + ky * taps * rank;
        for (int64_t r = 0; r < rank; r += 4) {
            float *to = sums + r * span + from - s->bottom;
            for (int64_t j = 0; j < taps; j += 4) {
                AT_LEVEL(mix)(weight - j, -1, along + j * rank + r, rank, count, to, span);
            }
        }
    }
}

/* Samples of four rows of pixels: the factors across, weighted by what they sum to in these rows. */
static void AT_LEVEL(four_rows)(const roman_profile *p, const float *sums, int64_t span, float *samples, int64_t stride)
{
    int64_t next = (int64_t)p->over_x * p->nx, phase = p->nx + 2 * MARGIN;
    memset(samples, 0, (size_t)(4 * stride) * sizeof *samples);
    for (int64_t r = 0; r < p->rank; r += 4) {
        for (int64_t kx = 0; kx < p->over_x; kx++) { /* inside, for the sums of one do not wait for those of another */
            AT_LEVEL(mix)(p->across + r * next + kx * p->nx, next, sums + r * span, span, p->nx,
                          samples + kx * phase + MARGIN, stride);
        }
    }
}

/* Pixels from `first` to `end` - 1 += six parts with a spline's weights. */
static void AT_LEVEL(add_parts)(const float *const *part, const double *w, int64_t first, int64_t end,
                                float *restrict pixels)
{
    const float *a = part[0], *b = part[1], *c = part[2], *d = part[3], *e = part[4], *f = part[5];
    float u = (float)w[0], v = (float)w[1], x = (float)w[2], y = (float)w[3], z = (float)w[4], t = (float)w[5];
    int64_t i = first; /* whole vectors, then quarters: a wider end would touch more lines of memory */
    for (; i + ROMAN_STAMP_WIDTH <= end; i += ROMAN_STAMP_WIDTH) {
        for (int64_t l = i; l < i + ROMAN_STAMP_WIDTH; l++) {
            float low = fmaf(x, c[l], fmaf(v, b[l], fmaf(u, a[l], pixels[l])));
            pixels[l] = fmaf(t, f[l], fmaf(z, e[l], fmaf(y, d[l], low)));
        }
    }
    for (; i + 4 <= end; i += 4) {
        for (int64_t l = i; l < i + 4; l++) {
            float low = fmaf(x, c[l], fmaf(v, b[l], fmaf(u, a[l], pixels[l])));
            pixels[l] = fmaf(t, f[l], fmaf(z, e[l], fmaf(y, d[l], low)));
        }
    }
    for (; i < end; i++) {
        float low = fmaf(x, c[i], fmaf(v, b[i], fmaf(u, a[i], pixels[i])));
        pixels[i] = fmaf(t, f[i], fmaf(z, e[i], fmaf(y, d[i], low)));
    }
}

/* A row of pixels += its samples, [over_x] with MARGIN zeros around each phase, at the trace's place in it. */
static void AT_LEVEL(add_row)(const straight *s, int64_t row, const float *samples)
{
    const roman_profile *p = s->profile;
    double at = s->place[row] * p->over_x, node = floor(at), w[TAPS];
    int64_t stride = p->nx + 2 * MARGIN, begin = floor_div((int64_t)node - BEFORE, p->over_x), last = 0;
    int64_t phase = (int64_t)node - BEFORE - begin * p->over_x;
    const float *part[TAPS];
    AT_LEVEL(spline)(at - node, w);
    for (int k = 0; k < TAPS; k++) {
        part[k] = samples + phase * stride + MARGIN - last;
        if (++phase == p->over_x && k < TAPS - 1) {
            phase = 0;
            last++;
        }
    }
    int64_t from = begin + p->column - s->cutout->column, room = s->cutout->nx - from, count = p->nx + last;
    int64_t whole = (count + 3) / 4 * 4; /* past the count are zeros */
    float *pixels = s->pixels + row * s->cutout->nx + from;
    if (from >= 0 && room >= whole) AT_LEVEL(add_parts)(part, w, 0, whole, pixels);
    else AT_LEVEL(add_parts)(part, w, from < 0 ? -from : 0, room < count ? room : count, pixels);
}

static int AT_LEVEL(draw_factors)(straight *s)
{
    const roman_profile *p = s->profile;
    int64_t span = span_of(s), stride = p->over_x * (p->nx + 2 * (int64_t)MARGIN);
    float *sums = s->sums, *samples = sums + p->rank * span;
    AT_LEVEL(light_and_nodes)(s, 1);
    AT_LEVEL(weights_of_nodes)(s);
    for (int64_t plane = 0; plane < p->planes; plane++) AT_LEVEL(convolve)(s, plane, sums, span);
    AT_LEVEL(four_rows)(p, sums, span, samples, stride);
    for (int64_t row = s->bottom; row < s->top; row += 4) {
        /* The next rows' samples first: what was stored just now is slow to read. */
        float *after = samples == s->sums + p->rank * span ? samples + 4 * stride : samples - 4 * stride;
        if (row + 4 < s->top) AT_LEVEL(four_rows)(p, sums + row + 4 - s->bottom, span, after, stride);
        for (int64_t j = 0; j < 4 && row + j < s->top; j++) AT_LEVEL(add_row)(s, row + j, samples + j * stride);
        samples = after;
    }
    return ROMAN_OK;
}

/* The samples of a row, zeros before, += its pixels: the adjoint of add_row. */
static void AT_LEVEL(take_row)(const straight *s, int64_t row, float *samples)
{
    const roman_profile *p = s->profile;
    double at = s->place[row] * p->over_x, node = floor(at), w[TAPS];
    AT_LEVEL(spline)(at - node, w);
    for (int k = 0; k < TAPS; k++) {
        int64_t c = (int64_t)node - BEFORE + k, column = floor_div(c, p->over_x);
        int64_t from = column + p->column - s->cutout->column, room = s->cutout->nx - from;
        int64_t first = from < 0 ? -from : 0, end = room < p->nx ? room : p->nx;
        float *restrict part = samples + (c - column * p->over_x) * p->nx, weight = (float)w[k];
        const float *restrict pixels = s->pixels + row * s->cutout->nx + from;
        for (int64_t i = first; i < end; i++) part[i] = fmaf(weight, pixels[i], part[i]);
    }
}

/* Sums of four rows' samples times each factor across, [4][lanes]; `turned` is [over_x][nx][lanes]. */
static void AT_LEVEL(four_row_dots)(const float *turned, int64_t lanes, int64_t width, const float *samples, float *sums)
{
    for (int64_t i = 0; i < width; i += 4) {
        float turn[16];
        for (int k = 0; k < 16; k++) turn[k] = samples[k % 4 * width + i + k / 4];
        AT_LEVEL(mix)(turned + i * lanes, lanes, turn, 4, lanes, sums, lanes);
    }
}

/* Rows of nodes at one or two places in a row, += the sums of a factor across, in the rows that each node's stamp has,
 * times the factor along the trace; `next` is to the second place's. Nodes are [4][rows]: two for every other four taps,
 * and two, four rows on, for those between. */
static void AT_LEVEL(correlate)(const float *sums, const float *along, int64_t rank, int64_t taps, int64_t next, int count,
                                float *nodes, int64_t rows)
{
    for (int64_t j = 0; j < taps; j += 8) {
        float factor[16] = {0};
        for (int i = 0; i < 4; i++) {
            for (int k = 0; k < count; k++) {
                const float *tap = along + k * next + (j + i) * rank;
                factor[4 * i + k] = tap[0];
                if (j + 4 < taps) factor[4 * i + 2 + k] = tap[4 * rank];
            }
        }
        AT_LEVEL(mix)(sums + j, 1, factor, 4, rows, nodes, rows);
    }
}

/* Sums over the factors across of all rows that are reached, [rank][span]. */
static void AT_LEVEL(row_dots)(straight *s, const float *turned, int64_t lanes, float *samples, float *sums, int64_t span)
{
    const roman_profile *p = s->profile;
    int64_t width = (int64_t)p->over_x * p->nx;
    float *dots = samples + 4 * width;
    for (int64_t row = s->bottom; row < s->top; row += 4) {
        memset(samples, 0, (size_t)(4 * (width + lanes)) * sizeof *samples);
        for (int64_t j = 0; j < 4 && row + j < s->top; j++) AT_LEVEL(take_row)(s, row + j, samples + j * width);
        AT_LEVEL(four_row_dots)(turned, lanes, width, samples, dots);
        for (int64_t r = 0; r < p->rank; r++) {
            for (int64_t j = 0; j < 4; j++) sums[r * span + row - s->bottom + j] = dots[j * lanes + r];
        }
    }
}

/* The nodes of a plane from the rows' sums over the factors across, [rank][span] from the first row on. */
static void AT_LEVEL(gather_plane)(straight *s, int64_t plane, const float *sums, int64_t span, float *totals)
{
    const roman_profile *p = s->profile;
    int64_t taps = taps_of(p), next = taps * p->rank, offset = s->cutout->row - p->row + s->bottom;
    int64_t low = s->low[plane], high = s->high[plane];
    if (low < offset - p->ny + 1) low = offset - p->ny + 1;
    if (high > offset + s->top - s->bottom) high = offset + s->top - s->bottom;
    if (low >= high) return;
    int64_t rows = (high - low + 4 + ROMAN_STAMP_WIDTH - 1) / ROMAN_STAMP_WIDTH * ROMAN_STAMP_WIDTH;
    for (int ky = 0; ky < p->over_y; ky += 2) {
        int count = p->over_y - ky < 2 ? 1 : 2;
        const float *along = p->along + (plane * p->over_y + ky) * next;
        memset(totals, 0, (size_t)(4 * rows) * sizeof *totals);
        for (int64_t f = 0; f < p->rank; f++) {
            AT_LEVEL(correlate)(sums + f * span + low - offset, along + f, p->rank, taps, next, count, totals, rows);
        }
        for (int k = 0; k < count; k++) {
            const float *some = totals + k * rows, *others = totals + (2 + k) * rows + 4;
            double *nodes = s->nodes + (plane * s->rows + low - s->first) * p->over_y + ky + k;
            for (int64_t l = 0; l < high - low; l++) nodes[l * p->over_y] = (double)(some[l] + others[l]);
        }
    }
}

static int AT_LEVEL(gather_factors)(straight *s)
{
    const roman_profile *p = s->profile;
    int64_t width = (int64_t)p->over_x * p->nx, spare = taps_of(p) + ROMAN_STAMP_WIDTH, span = span_of(s) + 2 * spare;
    int64_t lanes = (p->rank + ROMAN_STAMP_WIDTH - 1) / ROMAN_STAMP_WIDTH * ROMAN_STAMP_WIDTH;
    int64_t floats = lanes * width + 4 * (width + lanes) + p->rank * span + 4 * (s->rows + ROMAN_STAMP_WIDTH);
    float *turned = calloc((size_t)floats, sizeof *turned);
    if (!turned) return ROMAN_ERR_MEMORY;
    float *samples = turned + lanes * width, *sums = samples + 4 * (width + lanes), *totals = sums + p->rank * span;
    for (int64_t r = 0; r < p->rank; r++) {
        for (int64_t i = 0; i < width; i++) turned[i * lanes + r] = p->across[r * width + i];
    }
    AT_LEVEL(row_dots)(s, turned, lanes, samples, sums + spare, span);
    for (int64_t plane = 0; plane < p->planes; plane++) {
        AT_LEVEL(gather_plane)(s, plane, sums + spare, span, totals);
    }
    free(turned);
    AT_LEVEL(light_and_nodes)(s, 0);
    return ROMAN_OK;
}
