/* Body of dispersion.c, compiled once per vector level (levels.h). */

/* Weights of a quintic B-spline at the TAPS nodes around a place `f` after the third. */
static inline void AT_LEVEL(spline)(double f, double w[TAPS])
{
    double g = 1 - f, f2 = f * f, g2 = g * g;
    w[0] = g2 * g2 * g / 120;
    w[5] = f2 * f2 * f / 120;
    w[2] = fma(f2, fma(f2, fma(f, -1.0 / 12, 0.25), -0.5), 0.55);
    w[3] = fma(g2, fma(g2, fma(g, -1.0 / 12, 0.25), -0.5), 0.55);
    double h = 1 + f; /* the weights' sum is 1 */
    w[1] = fma(h, fma(h, fma(h, fma(h, fma(h, 1.0 / 24, -0.375), 1.25), -1.75), 0.625), 0.425);
    w[4] = 1 - w[0] - w[1] - w[2] - w[3] - w[5];
}

/* Light onto the nodes, or nodes gathered into light, of the bins from `first` to `end` - 1. */
static void AT_LEVEL(light_and_nodes)(dispersion *d, int plane, int64_t first, int64_t end)
{
    const roman_profile *p = d->profile;
    const roman_trace *t = d->trace;
    nodes *g = &d->grid;
    for (int64_t bin = first; bin < end; bin++) {
        double weight = share_of(t, bin, plane);
        if (weight == 0 || (d->forward && d->light[bin] == 0)) continue;
        double x = t->x[bin] * p->over_x, dx = t->x[bin + 1] * p->over_x - x;
        double y = t->y[bin] * p->over_y, dy = t->y[bin + 1] * p->over_y - y;
        int pieces = pieces_of(dx, dy);
        double each = (d->forward ? d->light[bin] : 1) * weight / (2 * pieces), sum = 0;
        for (int k = 0; k < 2 * pieces; k++) {
            double along = place_of(k, pieces), px = fma(along, dx, x), py = fma(along, dy, y), wx[TAPS], wy[TAPS];
            double column = floor(px), row = floor(py);
            AT_LEVEL(spline)(px - column, wx);
            AT_LEVEL(spline)(py - row, wy);
            for (int j = 0; j < TAPS; j++) {
                int64_t r = (int64_t)row - BEFORE + j - g->first_row;
                double *node = g->value + g->start[r] + ((int64_t)column - BEFORE - g->low[r]), w = each * wy[j];
                if (d->forward) {
                    for (int i = 0; i < TAPS; i++) node[i] = fma(w, wx[i], node[i]);
                } else {
                    double across = 0;
                    for (int i = 0; i < TAPS; i++) across = fma(wx[i], node[i], across);
                    sum = fma(w, across, sum);
                }
            }
        }
        if (!d->forward) d->light[bin] += sum;
    }
}

/* pixels += sum of TOGETHER stamps, each with its weight; a row of pixels begins `stride` after the last. */
static void AT_LEVEL(add_stamps)(const float *const *stamp, const float *weight, int rows, int width, float *pixels,
                                 int64_t stride)
{
    const float *a = stamp[0], *b = stamp[1], *c = stamp[2], *e = stamp[3];
    float wa = weight[0], wb = weight[1], wc = weight[2], we = weight[3];
    for (int j = 0; j < rows; j++) {
        for (int i = 0; i < width; i += ROMAN_STAMP_WIDTH) {
            float *restrict out = pixels + j * stride + i;
            const float *restrict pa = a + j * width + i, *restrict pb = b + j * width + i;
            const float *restrict pc = c + j * width + i, *restrict pe = e + j * width + i;
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
                out[l] = fmaf(we, pe[l], fmaf(wc, pc[l], fmaf(wb, pb[l], fmaf(wa, pa[l], out[l]))));
            }
        }
    }
}

/* Sum over pixels of one stamp times the image. */
static double AT_LEVEL(stamp_dot)(const float *stamp, int rows, int width, const float *pixels, int64_t stride)
{
    float sums[ROMAN_STAMP_WIDTH] = {0};
    double total = 0;
    for (int j = 0; j < rows; j++) {
        for (int i = 0; i < width; i += ROMAN_STAMP_WIDTH) {
            for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) {
                sums[l] = fmaf(stamp[j * width + i + l], pixels[j * stride + i + l], sums[l]);
            }
        }
    }
    for (int l = 0; l < ROMAN_STAMP_WIDTH; l++) total += (double)sums[l];
    return total;
}

/* The nodes of one pixel: their stamps added to the image, or the image summed over their stamps. */
static void AT_LEVEL(one_pixel)(dispersion *d, int plane, int64_t row, int64_t column)
{
    const roman_profile *p = d->profile;
    nodes *g = &d->grid;
    int64_t size = (int64_t)p->ny * p->nx, top = row + p->row - d->cutout->row, stride = d->cutout->nx;
    int64_t from = top < 0 ? -top : 0, to = top + p->ny > d->cutout->ny ? d->cutout->ny - top : p->ny;
    if (from >= to) return;
    float *pixels = d->pixels + (top + from) * stride + column + p->column - d->cutout->column;
    const float *stamp[TOGETHER];
    float weight[TOGETHER] = {0};
    int count = 0, rows = (int)(to - from);
    for (int ky = 0; ky < p->over_y; ky++) {
        int64_t r = row * p->over_y + ky - g->first_row;
        if (r < 0 || r >= g->rows) continue;
        for (int kx = 0; kx < p->over_x; kx++) {
            int64_t c = column * p->over_x + kx;
            if (c < g->low[r] || c >= g->high[r]) continue;
            double *value = g->value + g->start[r] + (c - g->low[r]);
            const float *one = p->stamps + (((int64_t)plane * p->over_y + ky) * p->over_x + kx) * size + from * p->nx;
            if (!d->forward) {
                *value = AT_LEVEL(stamp_dot)(one, rows, p->nx, pixels, stride);
            } else if (*value != 0) {
                stamp[count] = one;
                weight[count++] = (float)*value;
            }
            if (count == TOGETHER) {
                AT_LEVEL(add_stamps)(stamp, weight, rows, p->nx, pixels, stride);
                count = 0;
            }
        }
    }
    if (count == 0) return;
    for (int k = count; k < TOGETHER; k++) {
        stamp[k] = stamp[0];
        weight[k] = 0;
    }
    AT_LEVEL(add_stamps)(stamp, weight, rows, p->nx, pixels, stride);
}

static int AT_LEVEL(one_plane)(dispersion *d, int plane)
{
    const roman_profile *p = d->profile;
    const roman_trace *t = d->trace;
    nodes *g = &d->grid;
    int64_t first = 0, end = t->bins, bottom = INT64_MAX, top = INT64_MIN;
    while (first < end && t->plane[first] + 1 < plane) first++;
    while (end > first && t->plane[end - 1] > plane) end--;
    for (int64_t bin = first; bin <= end && first < end; bin++) {
        int64_t row = (int64_t)floor(t->y[bin] * p->over_y);
        if (row - BEFORE < bottom) bottom = row - BEFORE;
        if (row + BEYOND > top) top = row + BEYOND;
    }
    if (first == end) return ROMAN_OK;
    memset(g->value, 0, (size_t)g->start[g->rows] * sizeof *g->value);
    if (d->forward) AT_LEVEL(light_and_nodes)(d, plane, first, end);
    for (int64_t row = floor_div(bottom, p->over_y); row <= floor_div(top - 1, p->over_y); row++) {
        int64_t low = INT64_MAX, high = INT64_MIN;
        for (int64_t r = row * p->over_y - g->first_row; r < (row + 1) * p->over_y - g->first_row; r++) {
            if (r < 0 || r >= g->rows) continue;
            if (g->low[r] < low) low = g->low[r];
            if (g->high[r] > high) high = g->high[r];
        }
        if (high <= low) continue;
        low = floor_div(low, p->over_x);
        high = floor_div(high - 1, p->over_x);
        for (int64_t column = low; column <= high; column++) AT_LEVEL(one_pixel)(d, plane, row, column);
    }
    if (!d->forward) AT_LEVEL(light_and_nodes)(d, plane, first, end);
    return ROMAN_OK;
}
