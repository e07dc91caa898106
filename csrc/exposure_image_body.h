/* Sums of exposure_fit.c over the residual image, and steps taken out of it. Part of exposure_fit_body.h. */

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
