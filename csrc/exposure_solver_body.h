/* Conjugate gradients of exposure_fit.c on the approximate matrix. Part of exposure_fit_body.h. */

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
