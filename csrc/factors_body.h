/* A profile that is a sum of products: each factor along the trace is convolved with the light, and every row of pixels
 * is a sum of the factors across it. Part of straight_trace_body.h. */

/* Sums of BLOCK rows of pixels, of four factors, += the rows' nodes in one plane times the factors along the trace. */
static void AT_LEVEL(convolve)(const float *weight, const float *along, int64_t rank, int64_t taps, float *restrict sums)
{
    for (int l = 0; l < BLOCK / 2; l++) {
        const float *later = weight + BLOCK / 2 + l, *sooner = weight + l;
        float a = sums[l], b = sums[BLOCK + l], c = sums[2 * BLOCK + l], d = sums[3 * BLOCK + l];
        float e = sums[BLOCK / 2 + l], f = sums[3 * BLOCK / 2 + l], g = sums[5 * BLOCK / 2 + l];
        float h = sums[7 * BLOCK / 2 + l];
        for (int64_t j = 0; j < taps; j++) {
            const float *factor = along + j * rank;
            float one = sooner[-j], two = later[-j];
            a = fmaf(one, factor[0], a);
            b = fmaf(one, factor[1], b);
            c = fmaf(one, factor[2], c);
            d = fmaf(one, factor[3], d);
            e = fmaf(two, factor[0], e);
            f = fmaf(two, factor[1], f);
            g = fmaf(two, factor[2], g);
            h = fmaf(two, factor[3], h);
        }
        sums[l] = a;
        sums[BLOCK + l] = b;
        sums[2 * BLOCK + l] = c;
        sums[3 * BLOCK + l] = d;
        sums[BLOCK / 2 + l] = e;
        sums[3 * BLOCK / 2 + l] = f;
        sums[5 * BLOCK / 2 + l] = g;
        sums[7 * BLOCK / 2 + l] = h;
    }
}

/* Samples of four rows of pixels in one phase: the factors across, weighted by what they sum to in these rows. */
static void AT_LEVEL(four_rows)(const float *across, int64_t next, int64_t rank, int64_t nx, const float *sums,
                                float *restrict out, int64_t stride)
{
    for (int64_t i = 0; i < nx; i += ROMAN_STAMP_WIDTH) {
        for (int64_t l = i; l < i + ROMAN_STAMP_WIDTH; l++) {
            float a = 0, b = 0, c = 0, d = 0;
            for (int64_t r = 0; r < rank; r++) {
                float factor = across[r * next + l];
                a = fmaf(sums[r * BLOCK], factor, a);
                b = fmaf(sums[r * BLOCK + 1], factor, b);
                c = fmaf(sums[r * BLOCK + 2], factor, c);
                d = fmaf(sums[r * BLOCK + 3], factor, d);
            }
            out[l] = a;
            out[stride + l] = b;
            out[2 * stride + l] = c;
            out[3 * stride + l] = d;
        }
    }
}

/* A row of pixels += its samples, [over_x] with MARGIN zeros around each phase, at the trace's place in it. */
static void AT_LEVEL(add_row)(const straight *s, int64_t row, const float *samples)
{
    const roman_profile *p = s->profile;
    double at = s->place[row] * p->over_x, node = floor(at), w[TAPS];
    int64_t begin = floor_div((int64_t)node - BEFORE, p->over_x), last = 0;
    const float *part[TAPS];
    AT_LEVEL(spline)(at - node, w);
    for (int k = 0; k < TAPS; k++) {
        int64_t c = (int64_t)node - BEFORE + k, column = floor_div(c, p->over_x);
        last = column - begin;
        part[k] = samples + (c - column * p->over_x) * (p->nx + 2 * MARGIN) + MARGIN - last;
    }
    float u = (float)w[0], v = (float)w[1], x = (float)w[2], y = (float)w[3], z = (float)w[4], t = (float)w[5];
    int64_t from = begin + p->column - s->cutout->column, room = s->cutout->nx - from;
    int64_t first = from < 0 ? -from : 0, end = room < p->nx + last ? room : p->nx + last;
    float *restrict out = s->pixels + row * s->cutout->nx + from;
    for (int64_t i = first; i < end; i++) {
        float low = fmaf(x, part[2][i], fmaf(v, part[1][i], fmaf(u, part[0][i], out[i])));
        out[i] = fmaf(t, part[5][i], fmaf(z, part[4][i], fmaf(y, part[3][i], low)));
    }
}

/* Whether nodes of the plane reach any of `count` rows of pixels, the first of which has its first stamps' nodes in the
 * row `source`. */
static inline int AT_LEVEL(reaches)(const straight *s, int64_t plane, int64_t source, int64_t count)
{
    return source + count > s->low[plane] && source - s->profile->ny + 1 < s->high[plane];
}

static int AT_LEVEL(draw_factors)(straight *s)
{
    const roman_profile *p = s->profile;
    int64_t phase = p->nx + 2 * MARGIN, stride = p->over_x * phase, next = (int64_t)p->over_x * p->nx;
    float *sums = s->sums, *samples = sums + (int64_t)p->rank * BLOCK;
    AT_LEVEL(light_and_nodes)(s, 1);
    AT_LEVEL(weights_of_nodes)(s);
    for (int64_t row = s->bottom; row < s->top; row += BLOCK) {
        int64_t source = row + s->cutout->row - p->row; /* row of the nodes whose stamps begin in this row */
        memset(sums, 0, (size_t)(p->rank * BLOCK) * sizeof *sums);
        for (int64_t k = 0; k < (int64_t)p->planes * p->over_y; k++) {
            if (!AT_LEVEL(reaches)(s, k / p->over_y, source, BLOCK)) continue;
            const float *weight = s->weights + k * s->rows + source - s->first;
            for (int64_t r = 0; r < p->rank; r += 4) {
                AT_LEVEL(convolve)(weight, p->along + k * p->ny * p->rank + r, p->rank, p->ny, sums + r * BLOCK);
            }
        }
        for (int64_t k = 0; k < BLOCK && row + k < s->top; k += 4) {
            for (int64_t kx = 0; kx < p->over_x; kx++) {
                AT_LEVEL(four_rows)(p->across + kx * p->nx, next, p->rank, p->nx, sums + k,
                                    samples + kx * phase + MARGIN, stride);
            }
            for (int64_t j = k; j < k + 4 && row + j < s->top; j++) {
                AT_LEVEL(add_row)(s, row + j, samples + (j - k) * stride);
            }
        }
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

/* Sums of four rows' samples times each factor across; `across` here is [over_x][nx][rank]. */
static void AT_LEVEL(four_row_dots)(const float *across, int64_t rank, int64_t width, const float *samples,
                                    float *restrict sums, int64_t span)
{
    for (int64_t r = 0; r < rank; r++) {
        float a = 0, b = 0, c = 0, d = 0;
        for (int64_t i = 0; i < width; i++) {
            float factor = across[i * rank + r];
            a = fmaf(samples[i], factor, a);
            b = fmaf(samples[width + i], factor, b);
            c = fmaf(samples[2 * width + i], factor, c);
            d = fmaf(samples[3 * width + i], factor, d);
        }
        sums[r * span] = a;
        sums[r * span + 1] = b;
        sums[r * span + 2] = c;
        sums[r * span + 3] = d;
    }
}

/* BLOCK nodes of a plane += the sums of four factors across, in the rows that each node's stamp has, times the factors
 * along the trace. */
static void AT_LEVEL(correlate)(const float *sums, int64_t span, const float *along, int64_t rank, int64_t taps,
                                float *restrict nodes)
{
    const float *second = sums + span, *third = second + span, *fourth = third + span;
    for (int l = 0; l < BLOCK; l++) {
        float a = 0, b = 0, c = 0, d = 0;
        for (int64_t j = 0; j < taps; j++) {
            a = fmaf(sums[l + j], along[j * rank], a);
            b = fmaf(second[l + j], along[j * rank + 1], b);
            c = fmaf(third[l + j], along[j * rank + 2], c);
            d = fmaf(fourth[l + j], along[j * rank + 3], d);
        }
        nodes[l] += (a + b) + (c + d);
    }
}

/* All rows' sums over the factors across. */
static void AT_LEVEL(row_dots)(straight *s, float *sums, int64_t span, const float *turned, float *samples)
{
    const roman_profile *p = s->profile;
    int64_t width = (int64_t)p->over_x * p->nx;
    for (int64_t row = s->bottom; row < s->top; row += 4) {
        memset(samples, 0, (size_t)(4 * width) * sizeof *samples);
        for (int64_t j = 0; j < 4 && row + j < s->top; j++) AT_LEVEL(take_row)(s, row + j, samples + j * width);
        AT_LEVEL(four_row_dots)(turned, p->rank, width, samples, sums + row - s->bottom, span);
    }
}

static int AT_LEVEL(gather_factors)(straight *s)
{
    const roman_profile *p = s->profile;
    int64_t width = (int64_t)p->over_x * p->nx, spare = p->ny + BLOCK, span = s->top - s->bottom + 2 * spare + BLOCK;
    float *turned = calloc((size_t)(p->rank * (width + span) + 4 * width), sizeof *turned);
    if (!turned) return ROMAN_ERR_MEMORY;
    float *samples = turned + p->rank * width, *sums = samples + 4 * width;
    for (int64_t k = 0; k < p->rank * width; k++) turned[k % width * p->rank + k / width] = p->across[k];
    AT_LEVEL(row_dots)(s, sums + spare, span, turned, samples);
    for (int64_t k = 0; k < (int64_t)p->planes * p->over_y; k++) {
        int64_t plane = k / p->over_y;
        double *nodes = s->nodes + (plane * s->rows - s->first) * p->over_y + k % p->over_y;
        for (int64_t r = s->low[plane]; r < s->high[plane]; r += BLOCK) {
            float totals[BLOCK] = {0};
            int64_t row = r + p->row - s->cutout->row - s->bottom; /* of the first nodes' stamps, from the first row */
            if (row + BLOCK - 1 + p->ny <= 0 || row >= s->top - s->bottom) continue;
            for (int64_t f = 0; f < p->rank; f += 4) {
                AT_LEVEL(correlate)(sums + f * span + spare + row, span, p->along + k * p->ny * p->rank + f, p->rank,
                                    p->ny, totals);
            }
            for (int l = 0; l < BLOCK; l++) nodes[(r + l) * p->over_y] = (double)totals[l];
        }
    }
    free(turned);
    AT_LEVEL(light_and_nodes)(s, 0);
    return ROMAN_OK;
}
