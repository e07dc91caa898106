/* Body of straight_trace.c, compiled once per vector level (levels.h). */
#include "quintic_body.h"

#include "trace_nodes_body.h"
#include "factors_body.h"

/* --- rows ------------------------------------------------------------------------------------------ */

/* Sums of two rows of pixels += PASS rows of a stamp with the weights that each has for them. Written out: a loop
 * over the rows would not be made of vectors. */
static void AT_LEVEL(add_pass)(const float *stamp, int64_t width, const float *weight, float *restrict one,
                               float *restrict next)
{
    /* A stamp's row j comes from the nodes j rows before. */
    float w0 = weight[0], w1 = weight[-1], w2 = weight[-2], w3 = weight[-3], w4 = weight[-4], w5 = weight[-5];
    float w6 = weight[-6], w7 = weight[-7], w8 = weight[1];
    for (int64_t i = 0; i < width; i += ROMAN_STAMP_WIDTH) {
        const float *restrict a = stamp + i, *restrict b = a + width, *restrict c = b + width, *restrict d = c + width;
        const float *restrict e = d + width, *restrict f = e + width, *restrict g = f + width, *restrict h = g + width;
        float *restrict to = one + i, *restrict then = next + i;
        for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
            float low = fmaf(w3, d[l], fmaf(w2, c[l], fmaf(w1, b[l], fmaf(w0, a[l], to[l]))));
            float high = fmaf(w2, d[l], fmaf(w1, c[l], fmaf(w0, b[l], fmaf(w8, a[l], then[l]))));
            to[l] = fmaf(w7, h[l], fmaf(w6, g[l], fmaf(w5, f[l], fmaf(w4, e[l], low))));
            then[l] = fmaf(w6, h[l], fmaf(w5, g[l], fmaf(w4, f[l], fmaf(w3, e[l], high))));
        }
    }
}

/* A row of pixels += its sums at the trace's place in it, or its sums += those pixels. */
static void AT_LEVEL(sums_and_pixels)(straight *s, int64_t row, float *sums, int forward)
{
    const roman_profile *p = s->profile;
    double at = s->place[row] * p->over_x, node = floor(at), w[TAPS];
    float *pixels = s->pixels + row * s->cutout->nx;
    AT_LEVEL(spline)(at - node, w);
    for (int k = 0; k < TAPS; k++) {
        int64_t c = (int64_t)node - BEFORE + k, column = floor_div(c, p->over_x);
        int64_t from = column + p->column - s->cutout->column;
        int64_t first = from < 0 ? -from : 0, end = s->cutout->nx - from < p->nx ? s->cutout->nx - from : p->nx;
        float *restrict part = sums + (c - column * p->over_x) * p->nx, *restrict out = pixels + from;
        float weight = (float)w[k];
        if (forward) for (int64_t i = first; i < end; i++) out[i] = fmaf(weight, part[i], out[i]);
        else for (int64_t i = first; i < end; i++) part[i] = fmaf(weight, out[i], part[i]);
    }
}

static int AT_LEVEL(draw)(straight *s)
{
    const roman_profile *p = s->profile;
    float *one = s->sums, *next = one + s->width;
    AT_LEVEL(light_and_nodes)(s, 1);
    AT_LEVEL(weights_of_nodes)(s);
    for (int64_t row = s->bottom; row < s->top; row += 2) {
        int64_t source = row + s->cutout->row - p->row; /* row of the nodes whose stamps begin in this row */
        memset(one, 0, (size_t)(2 * s->width) * sizeof *one);
        for (int64_t plane = 0; plane < p->planes; plane++) {
            if (source + 1 < s->low[plane] || source - p->ny + 1 >= s->high[plane]) continue;
            for (int64_t ky = 0; ky < p->over_y; ky++) {
                const float *weight = s->weights + (plane * p->over_y + ky) * s->rows + source - s->first;
                const float *stamp = s->stamps + (plane * p->over_y + ky) * s->taps * s->width;
                for (int64_t j = 0; j < s->taps; j += PASS, weight -= PASS) {
                    AT_LEVEL(add_pass)(stamp + j * s->width, s->width, weight, one, next);
                }
            }
        }
        AT_LEVEL(sums_and_pixels)(s, row, one, 1);
        if (row + 1 < s->top) AT_LEVEL(sums_and_pixels)(s, row + 1, next, 1);
    }
    return ROMAN_OK;
}

/* Lanes of four sums += four rows of a stamp times the sums of pixels of as many rows: of those from the first on for
 * the first sum, from the second on for the second. */
static void AT_LEVEL(dots_pass)(const float *stamp, const float *sums, int64_t width, float *restrict lanes)
{
    float *restrict one = lanes, *restrict two = lanes + ROMAN_STAMP_WIDTH;
    float *restrict three = two + ROMAN_STAMP_WIDTH, *restrict four = three + ROMAN_STAMP_WIDTH;
    for (int64_t i = 0; i < width; i += ROMAN_STAMP_WIDTH) {
        const float *restrict a = stamp + i, *restrict b = a + width, *restrict c = b + width, *restrict d = c + width;
        const float *restrict p = sums + i, *restrict q = p + width, *restrict r = q + width, *restrict s = r + width;
        const float *restrict t = s + width, *restrict u = t + width, *restrict v = u + width;
        for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
            one[l] = fmaf(d[l], s[l], fmaf(c[l], r[l], fmaf(b[l], q[l], fmaf(a[l], p[l], one[l]))));
            two[l] = fmaf(d[l], t[l], fmaf(c[l], s[l], fmaf(b[l], r[l], fmaf(a[l], q[l], two[l]))));
            three[l] = fmaf(d[l], u[l], fmaf(c[l], t[l], fmaf(b[l], s[l], fmaf(a[l], r[l], three[l]))));
            four[l] = fmaf(d[l], v[l], fmaf(c[l], u[l], fmaf(b[l], t[l], fmaf(a[l], s[l], four[l]))));
        }
    }
}

/* Sums over a stamp times the sums of pixels, for nodes in four rows that follow each other, in fixed lanes. */
static void AT_LEVEL(four_dots)(const float *stamp, const float *sums, int64_t taps, int64_t width, double total[4])
{
    float lanes[4 * ROMAN_STAMP_WIDTH] = {0};
    for (int64_t j = 0; j < taps; j += 4) {
        AT_LEVEL(dots_pass)(stamp + j * width, sums + j * width, width, lanes);
    }
    for (int k = 0; k < 4; k++) {
        total[k] = 0;
        for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) total[k] += (double)lanes[k * ROMAN_STAMP_WIDTH + l];
    }
}

static int AT_LEVEL(gather)(straight *s)
{
    const roman_profile *p = s->profile;
    int64_t before = s->taps + 4, ny = s->top - s->bottom; /* rows of zeros before and after those that are reached */
    for (int64_t row = 0; row < ny; row++) {
        AT_LEVEL(sums_and_pixels)(s, row + s->bottom, s->sums + (row + before) * s->width, 0);
    }
    for (int64_t plane = 0; plane < p->planes; plane++) {
        for (int64_t r = s->low[plane]; r < s->high[plane]; r += 4) {
            int64_t row = r + p->row - s->cutout->row - s->bottom;
            if (row + 3 + p->ny <= 0 || row >= ny) continue;
            for (int64_t ky = 0; ky < p->over_y; ky++) {
                double total[4];
                AT_LEVEL(four_dots)(s->stamps + (plane * p->over_y + ky) * s->taps * s->width,
                                    s->sums + (row + before) * s->width, s->taps, s->width, total);
                double *nodes = s->nodes + (plane * s->rows + r - s->first) * p->over_y + ky;
                for (int k = 0; k < 4; k++) nodes[k * p->over_y] = total[k];
            }
        }
    }
    AT_LEVEL(light_and_nodes)(s, 0);
    return ROMAN_OK;
}
