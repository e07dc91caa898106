/* Stamps, cores and the approximate matrix of exposure_fit.c. Part of exposure_fit_body.h. */

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
