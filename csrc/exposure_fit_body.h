/* Body of exposure_fit.c, compiled once per vector level (levels.h). The pieces that threads share. */
#include "psf_stamp_body.h"

/* Sum of w psi^2 over a stamp. */
static float AT_LEVEL(stamp_norm)(const float *restrict stamp, const float *restrict w, int64_t stride, int width)
{
    float acc[LANES];
    LANES_ZERO(acc);
    for (int row = 0; row < width - 1; row++) {
        for (int col = 0; col < width; col += LANES) {
            const float *a = stamp + (int64_t)row * width + col, *b = w + row * stride + col;
            for (int l = 0; l < LANES; l++) acc[l] = fmaf(a[l] * b[l], a[l], acc[l]);
        }
    }
    return LANES_SUM(acc);
}

/* sums[0] = sum w psi and sums[1] = sum w psi^2 over a core. */
static void AT_LEVEL(core_sums)(const float *restrict core, const float *restrict w, int64_t stride, float *sums)
{
    float light[LANES], norm[LANES];
    LANES_ZERO(light);
    LANES_ZERO(norm);
    for (int row = 0; row < 2 * CORE + 1; row++, core += LANES, w += stride) {
        for (int l = 0; l < LANES; l++) {
            light[l] = fmaf(core[l], w[l], light[l]);
            norm[l] = fmaf(core[l] * w[l], core[l], norm[l]);
        }
    }
    sums[0] = LANES_SUM(light);
    sums[1] = LANES_SUM(norm);
}

/* Stamps, cores and norms of a block of stars. */
static void AT_LEVEL(prepare_block)(void *context, int64_t block)
{
    exposure_work *k = context;
    int64_t end = block_end(k, block);
    for (int64_t s = block * BLOCK; s < end; s++) {
        int half = k->half[s], width = 2 * half + 2;
        roman_psf psf = roman_psf_at(k->field, k->x[s], k->y[s]);
        float *stamp = k->stamps + k->offset[s], *core = k->cores + s * CORE_FLOATS, sums[2];
        AT_LEVEL(one_stamp)(&psf, k->x[s], k->y[s], half, 0, stamp);
        for (int row = 0; row < 2 * CORE + 1; row++) {
            memcpy(core + row * LANES, stamp + (int64_t)(half - CORE + row) * width + half - CORE,
                   (2 * CORE + 1) * sizeof *core);
            core[row * LANES + 2 * CORE + 1] = 0;
        }
        float norm = AT_LEVEL(stamp_norm)(stamp, k->weight + k->corner[s], k->stride, width);
        const float *w = k->weight + (k->iy[s] - CORE) * k->stride + k->ix[s] - CORE;
        AT_LEVEL(core_sums)(core, w, k->stride, sums);
        set_star(k, s, norm, sums);
    }
}

/* Couplings of a block of stars to the cores of their neighbours, in scaled units. */
static void AT_LEVEL(matrix_block)(void *context, int64_t block)
{
    enum { STRIDE = 3 * LANES };
    exposure_work *k = context;
    int64_t end = block_end(k, block);
    float canvas[(2 * CORE + 1) * STRIDE];
    memset(canvas, 0, sizeof canvas);
    for (int64_t s = block * BLOCK; s < end; s++) {
        const float *core = k->cores + s * CORE_FLOATS;
        const float *w = k->weight + (k->iy[s] - CORE) * k->stride + k->ix[s] - CORE;
        for (int row = 0; row < 2 * CORE + 1; row++) {
            for (int l = 0; l < LANES; l++) {
                canvas[row * STRIDE + LANES + l] = core[row * LANES + l] * w[row * k->stride + l];
            }
        }
        for (int64_t at = k->row_start[s]; at < k->row_start[s + 1]; at++) {
            int64_t t = k->column[at];
            int dx = k->ix[t] - k->ix[s], dy = k->iy[t] - k->iy[s];
            int first = dy > 0 ? dy : 0, last = 2 * CORE + (dy < 0 ? dy : 0);
            const float *other = k->cores + t * CORE_FLOATS;
            float acc[LANES];
            LANES_ZERO(acc);
            for (int row = first; row <= last; row++) {
                const float *a = canvas + row * STRIDE + LANES + dx, *b = other + (row - dy) * LANES;
                for (int l = 0; l < LANES; l++) acc[l] = fmaf(a[l], b[l], acc[l]);
            }
            /* The padding of a row points at the star itself, with value zero. */
            k->value[at] = t == s ? 0.0f : LANES_SUM(acc) * k->inverse[s] * k->inverse[t];
        }
    }
}

/* Subtracts the steps of all stars and of the sky from a band of rows of the residual. */
static void AT_LEVEL(subtract_band)(void *context, int64_t band)
{
    exposure_work *k = context;
    int64_t top = band * BAND, bottom = top + BAND < k->rows ? top + BAND : k->rows;
    for (int t = 0; t < k->n_sky; t++) {
        float c = (float)k->sky_step[t];
        const float *basis = k->basis + t * k->plane;
        for (int64_t p = top * k->stride; p < bottom * k->stride; p++) {
            k->residual[p] = fmaf(-c, basis[p], k->residual[p]);
        }
    }
    for (int64_t s = first_star(k, top - k->max_half); s < first_star(k, bottom + k->max_half + CELL); s++) {
        int half = k->half[s], width = 2 * half + 2;
        int64_t above = k->iy[s] - half, first = above < top ? top - above : 0;
        int64_t last = above + width - 1 > bottom ? bottom - above : width - 1;
        float f = k->change[s];
        if (f == 0) continue;
        for (int64_t row = first; row < last; row++) {
            const float *stamp = k->stamps + k->offset[s] + row * width;
            float *target = k->residual + k->corner[s] + row * k->stride;
            for (int col = 0; col < width; col += LANES) {
                for (int l = 0; l < LANES; l++) target[col + l] = fmaf(-f, stamp[col + l], target[col + l]);
            }
        }
    }
}

/* Sums of w T_k r over a band, and of w T_k T_j where the matrix of the sky is wanted. */
static void AT_LEVEL(sky_band)(void *context, int64_t band)
{
    exposure_work *k = context;
    int64_t top = band * BAND, bottom = top + BAND < k->rows ? top + BAND : k->rows;
    double *sums = k->partial + band * PARTIALS;
    int m = k->n_sky, at = 0;
    for (int i = 0; i < m; i++) {
        for (int j = -1; j <= (k->want_sky_matrix ? i : -1); j++) {
            const float *a = k->basis + i * k->plane, *b = j < 0 ? k->residual : k->basis + j * k->plane;
            double acc[LANES];
            LANES_ZERO(acc);
            /* Rows of the padded image are summed as one run of whole groups of lanes and a rest. */
            int64_t p = top * k->stride, end = bottom * k->stride;
            for (; p + LANES <= end; p += LANES) {
                for (int l = 0; l < LANES; l++) {
                    acc[l] = fma((double)(k->weight[p + l] * a[p + l]), b[p + l], acc[l]);
                }
            }
            for (; p < end; p++) acc[0] = fma((double)(k->weight[p] * a[p]), b[p], acc[0]);
            sums[at++] = LANES_SUM(acc);
        }
    }
}

/* Gradient of a block of stars on the residual image: of the data, and with the prior. */
static void AT_LEVEL(gradient_block)(void *context, int64_t block)
{
    exposure_work *k = context;
    int64_t end = block_end(k, block);
    double worst = 0;
    for (int64_t s = block * BLOCK; s < end; s++) {
        int width = 2 * k->half[s] + 2;
        const float *stamp = k->stamps + k->offset[s];
        const float *w = k->weight + k->corner[s], *r = k->residual + k->corner[s];
        float acc[LANES];
        LANES_ZERO(acc);
        for (int row = 0; row < width - 1; row++, stamp += width, w += k->stride, r += k->stride) {
            for (int col = 0; col < width; col += LANES) {
                for (int l = 0; l < LANES; l++) acc[l] = fmaf(stamp[col + l] * w[col + l], r[col + l], acc[l]);
            }
        }
        k->pull[s] = LANES_SUM(acc) * k->inverse[s];
        k->r[s] = k->pull[s] - k->lambda[s] * (float)k->deviation[s];
        if (fabs(k->r[s]) > worst) worst = fabs(k->r[s]);
    }
    k->partial[block * PARTIALS] = worst;
}

/* q = (S + lambda) p without the sky, and the sums p q and coupling p. */
static void AT_LEVEL(apply_block)(void *context, int64_t block)
{
    exposure_work *k = context;
    int64_t end = block_end(k, block);
    double *sums = k->partial + block * PARTIALS;
    memset(sums, 0, PARTIALS * sizeof *sums);
    for (int64_t s = block * BLOCK; s < end; s++) {
        float acc[LANES];
        LANES_ZERO(acc);
        for (int64_t at = k->row_start[s]; at < k->row_start[s + 1]; at += LANES) {
            for (int l = 0; l < LANES; l++) acc[l] = fmaf(k->value[at + l], k->p[k->column[at + l]], acc[l]);
        }
        float p = k->p[s];
        k->q[s] = fmaf(k->diagonal[s] + k->lambda[s], p, LANES_SUM(acc));
        sums[0] = fma((double)k->q[s], p, sums[0]);
        for (int t = 0; t < k->n_sky; t++) sums[1 + t] = fma((double)k->coupling[t * k->n + s], p, sums[1 + t]);
    }
}

/* One step along p: r -= step (q - coupling shift); sums of r z with z = r over the diagonal, and the worst r. */
static void AT_LEVEL(step_block)(void *context, int64_t block)
{
    exposure_work *k = context;
    int64_t end = block_end(k, block);
    double product = 0, worst = 0;
    float step = (float)k->step;
    for (int64_t s = block * BLOCK; s < end; s++) {
        float q = k->q[s];
        for (int t = 0; t < k->n_sky; t++) q = fmaf(-(float)k->shift[t], k->coupling[t * k->n + s], q);
        k->d[s] = fmaf(step, k->p[s], k->d[s]);
        k->r[s] = fmaf(-step, q, k->r[s]);
        float r = k->r[s];
        product = fma((double)r, r / (k->diagonal[s] + k->lambda[s]), product);
        if (fabs(r) > worst) worst = fabs(r);
    }
    k->partial[block * PARTIALS] = worst;
    k->partial[block * PARTIALS + 1] = product;
}

static void AT_LEVEL(direction_block)(void *context, int64_t block)
{
    exposure_work *k = context;
    int64_t end = block_end(k, block);
    float ratio = (float)k->step;
    for (int64_t s = block * BLOCK; s < end; s++) {
        k->p[s] = fmaf(ratio, k->p[s], k->r[s] / (k->diagonal[s] + k->lambda[s]));
    }
}

static const exposure_pieces AT_LEVEL(exposure_pieces) = {
    AT_LEVEL(prepare_block), AT_LEVEL(matrix_block), AT_LEVEL(subtract_band), AT_LEVEL(sky_band),
    AT_LEVEL(gradient_block), AT_LEVEL(apply_block), AT_LEVEL(step_block), AT_LEVEL(direction_block),
};

static const exposure_pieces *AT_LEVEL(pieces)(void) { return &AT_LEVEL(exposure_pieces); }
