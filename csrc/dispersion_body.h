/* Body of dispersion.c, compiled once per vector level (levels.h). */
#include "quintic_body.h"

/* Light onto the nodes, or nodes gathered into light, of the bins from `first` to `end` - 1. */
static void AT_LEVEL(light_and_nodes)(dispersion *d, int64_t first, int64_t end)
{
    const roman_profile *p = d->profile;
    const roman_trace *t = d->trace;
    nodes *g = &d->grid;
    for (int64_t bin = first; bin < end; bin++) {
        if (d->forward && d->light[bin] == 0) continue;
        double x = t->x[bin] * p->over_x, dx = t->x[bin + 1] * p->over_x - x;
        double y = t->y[bin] * p->over_y, dy = t->y[bin + 1] * p->over_y - y;
        int pieces = pieces_of(dx, dy);
        double each = (d->forward ? d->light[bin] : 1) / (2 * pieces), sum = 0;
        double up = each * t->share[bin], low = each - up;
        for (int k = 0; k < 2 * pieces; k++) {
            double along = place_of(k, pieces), px = fma(along, dx, x), py = fma(along, dy, y), wx[TAPS], wy[TAPS];
            double column = floor(px), row = floor(py);
            AT_LEVEL(spline)(px - column, wx);
            AT_LEVEL(spline)(py - row, wy);
            for (int j = 0; j < TAPS; j++) {
                int64_t r = (int64_t)row - BEFORE + j - g->first_row;
                int64_t at = g->start[r] + ((int64_t)column - BEFORE - g->low[r]);
                double *restrict lower = g->lower + at, *restrict upper = g->upper + at;
                double in_lower = low * wy[j], in_upper = up * wy[j];
                if (d->forward) {
                    for (int i = 0; i < TAPS; i++) lower[i] = fma(in_lower, wx[i], lower[i]);
                    for (int i = 0; i < TAPS; i++) upper[i] = fma(in_upper, wx[i], upper[i]);
                } else {
                    double a = 0, b = 0;
                    for (int i = 0; i < TAPS; i++) {
                        a = fma(wx[i], lower[i], a);
                        b = fma(wx[i], upper[i], b);
                    }
                    sum = fma(in_upper, b, fma(in_lower, a, sum));
                }
            }
        }
        if (!d->forward) d->light[bin] += sum;
    }
}

/* pixels += sum of TOGETHER stamps, each with its weight; a row of pixels begins `stride` after the last. Written out:
 * a loop over the stamps would not be made of vectors. */
static void AT_LEVEL(add_stamps)(const float *const *stamp, const float *weight, int rows, int width, float *pixels,
                                 int64_t stride)
{
    float wa = weight[0], wb = weight[1], wc = weight[2], wd = weight[3];
    float we = weight[4], wf = weight[5], wg = weight[6], wh = weight[7];
    for (int j = 0; j < rows; j++) {
        for (int i = 0; i < width; i += ROMAN_STAMP_WIDTH) {
            float *restrict out = pixels + j * stride + i;
            int at = j * width + i;
            const float *restrict a = stamp[0] + at, *restrict b = stamp[1] + at, *restrict c = stamp[2] + at;
            const float *restrict e = stamp[3] + at, *restrict f = stamp[4] + at, *restrict g = stamp[5] + at;
            const float *restrict h = stamp[6] + at, *restrict k = stamp[7] + at;
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
                float low = fmaf(wd, e[l], fmaf(wc, c[l], fmaf(wb, b[l], fmaf(wa, a[l], out[l]))));
                out[l] = fmaf(wh, k[l], fmaf(wg, h[l], fmaf(wf, g[l], fmaf(we, f[l], low))));
            }
        }
    }
}

/* Sums over pixels of four stamps times the image, in fixed lanes. */
static void AT_LEVEL(stamp_dots)(const float *const *stamp, int rows, int width, const float *pixels, int64_t stride,
                                 double *const *total)
{
    float a[ROMAN_STAMP_WIDTH] = {0}, b[ROMAN_STAMP_WIDTH] = {0}, c[ROMAN_STAMP_WIDTH] = {0};
    float e[ROMAN_STAMP_WIDTH] = {0};
    for (int j = 0; j < rows; j++) {
        for (int i = 0; i < width; i += ROMAN_STAMP_WIDTH) {
            const float *in = pixels + j * stride + i;
            int at = j * width + i;
            const float *pa = stamp[0] + at, *pb = stamp[1] + at, *pc = stamp[2] + at, *pe = stamp[3] + at;
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) a[l] = fmaf(pa[l], in[l], a[l]);
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) b[l] = fmaf(pb[l], in[l], b[l]);
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) c[l] = fmaf(pc[l], in[l], c[l]);
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) e[l] = fmaf(pe[l], in[l], e[l]);
        }
    }
    double sums[4] = {0};
    for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
        sums[0] += (double)a[l];
        sums[1] += (double)b[l];
        sums[2] += (double)c[l];
        sums[3] += (double)e[l];
    }
    for (int k = 0; k < 4; k++) *total[k] = sums[k];
}

/* The nodes of one pixel: their stamps added to the image, or the image summed over their stamps. */
static void AT_LEVEL(one_pixel)(dispersion *d, int plane, int64_t row, int64_t column, int64_t bottom,
                                int64_t end_row)
{
    const roman_profile *p = d->profile;
    nodes *g = &d->grid;
    int64_t size = (int64_t)p->ny * p->nx, next = size * p->over_y * p->over_x, stride = d->cutout->nx;
    int64_t top = row + p->row - d->cutout->row;
    int64_t from = top < 0 ? -top : 0, to = top + p->ny > d->cutout->ny ? d->cutout->ny - top : p->ny;
    if (from >= to) return;
    float *pixels = d->pixels + (top + from) * stride + column + p->column - d->cutout->column;
    const float *stamp[TOGETHER];
    float weight[TOGETHER] = {0};
    double *result[TOGETHER], unused;
    int count = 0, rows = (int)(to - from), both = plane + 1 < p->planes;
    for (int ky = 0; ky < p->over_y; ky++) {
        int64_t r = row * p->over_y + ky - g->first_row;
        if (r + g->first_row < bottom || r + g->first_row >= end_row) continue; /* not of this interval */
        for (int kx = 0; kx < p->over_x; kx++) {
            int64_t c = column * p->over_x + kx, at = g->start[r] + (c - g->low[r]);
            if (c < g->low[r] || c >= g->high[r]) continue;
            const float *one = p->stamps + plane * next + (ky * p->over_x + kx) * size + from * p->nx;
            if (!d->forward) {
                result[count] = g->lower + at;
                result[count + 1] = both ? g->upper + at : &unused;
                stamp[count] = one;
                stamp[count + 1] = both ? one + next : one;
                count += 2;
                if (count == 4) {
                    AT_LEVEL(stamp_dots)(stamp, rows, p->nx, pixels, stride, result);
                    count = 0;
                }
                continue;
            }
            stamp[count] = one;
            weight[count++] = (float)g->lower[at];
            if (both) {
                stamp[count] = one + next;
                weight[count++] = (float)g->upper[at];
            }
            if (count >= TOGETHER - 1) {
                for (int k = count; k < TOGETHER; k++) {
                    stamp[k] = stamp[0];
                    weight[k] = 0;
                }
                AT_LEVEL(add_stamps)(stamp, weight, rows, p->nx, pixels, stride);
                count = 0;
            }
        }
    }
    if (count == 0) return;
    for (int k = count; k < TOGETHER; k++) {
        stamp[k] = stamp[0];
        weight[k] = 0;
        result[k] = &unused;
    }
    if (d->forward) AT_LEVEL(add_stamps)(stamp, weight, rows, p->nx, pixels, stride);
    else AT_LEVEL(stamp_dots)(stamp, rows, p->nx, pixels, stride, result);
}

/* The bins between a plane and the next. */
static int AT_LEVEL(one_interval)(dispersion *d, int plane)
{
    const roman_profile *p = d->profile;
    const roman_trace *t = d->trace;
    nodes *g = &d->grid;
    int64_t first = 0, end = t->bins, bottom = INT64_MAX, top = INT64_MIN;
    while (first < end && t->plane[first] < plane) first++;
    while (end > first && t->plane[end - 1] > plane) end--;
    if (first == end) return ROMAN_OK;
    for (int64_t bin = first; bin <= end; bin++) {
        int64_t row = (int64_t)floor(t->y[bin] * p->over_y);
        if (row - BEFORE < bottom) bottom = row - BEFORE;
        if (row + BEYOND > top) top = row + BEYOND;
    }
    int64_t from = g->start[bottom - g->first_row], count = g->start[top - g->first_row] - from;
    memset(g->lower + from, 0, (size_t)count * sizeof *g->lower);
    memset(g->upper + from, 0, (size_t)count * sizeof *g->upper);
    if (d->forward) AT_LEVEL(light_and_nodes)(d, first, end);
    for (int64_t row = floor_div(bottom, p->over_y); row <= floor_div(top - 1, p->over_y); row++) {
        int64_t low = INT64_MAX, high = INT64_MIN;
        for (int64_t r = row * p->over_y; r < (row + 1) * p->over_y; r++) {
            if (r < bottom || r >= top) continue;
            if (g->low[r - g->first_row] < low) low = g->low[r - g->first_row];
            if (g->high[r - g->first_row] > high) high = g->high[r - g->first_row];
        }
        if (high <= low) continue;
        low = floor_div(low, p->over_x);
        high = floor_div(high - 1, p->over_x);
        for (int64_t column = low; column <= high; column++) {
            AT_LEVEL(one_pixel)(d, plane, row, column, bottom, top);
        }
    }
    if (!d->forward) AT_LEVEL(light_and_nodes)(d, first, end);
    return ROMAN_OK;
}
