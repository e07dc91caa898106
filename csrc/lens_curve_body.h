/* Light curves of point_lens.c: their memory, means and bins. Part of point_lens_body.h. */

/* Sum of weights and mean flux; fluxes become relative to the mean. Pads with weight 0. */
static void AT_LEVEL(lens_finish_band)(lens_band *b)
{
    double sw = 0, swf = 0, sff = 0;
    b->padded = (b->n + LANES - 1) / LANES * LANES;
    for (int64_t i = 0; i < b->n; i++) {
        sw += b->weight[i];
        swf = fma(b->weight[i], b->flux[i], swf);
    }
    b->sum_w = sw;
    b->mean = b->n ? swf / sw : 0;
    for (int64_t i = 0; i < b->n; i++) {
        b->flux[i] -= b->mean;
        sff = fma(b->weight[i] * b->flux[i], b->flux[i], sff);
    }
    b->sum_wff = sff;
    for (int64_t i = b->n; i < b->padded; i++) {
        b->time[i] = b->n ? b->time[b->n - 1] : 0;
        b->flux[i] = b->weight[i] = 0;
    }
}

/* Bins of a curve for one seed: narrow at its peak, wider away from it. The scatter inside bins is kept in
 * sum_wff, so that chi2 of different binnings compare. */
static void AT_LEVEL(lens_bin)(const lens_curve *full, double t0, double teff, lens_curve *coarse)
{
    coarse->n_bands = full->n_bands;
    coarse->free_blend = full->free_blend;
    coarse->first = full->first;
    coarse->last = full->last;
    for (int k = 0; k < full->n_bands; k++) {
        const lens_band *b = full->band + k;
        lens_band *c = coarse->band + k;
        int64_t n = 0;
        for (int64_t i = 0; i < b->n;) {
            double from = b->time[i], narrow = teff / 12, wide = fabs(from - t0) / 24;
            double until = from + (narrow > wide ? narrow : wide), sw = 0, swt = 0, swf = 0;
            do { /* the first point in any case: also if its time is no number, the loop ends */
                sw += b->weight[i];
                swt = fma(b->weight[i], b->time[i] - from, swt);
                swf = fma(b->weight[i], b->flux[i], swf);
                i++;
            } while (i < b->n && b->time[i] <= until);
            c->time[n] = from + swt / sw;
            c->flux[n] = swf / sw;
            c->weight[n++] = sw;
        }
        c->n = n;
        AT_LEVEL(lens_finish_band)(c);
        c->mean = b->mean; /* the fluxes are relative to it already, to rounding */
        c->sum_wff = b->sum_wff;
    }
}

static int AT_LEVEL(lens_allocate)(lens_curve *c, int bands, const int64_t *longest)
{
    int ok = 1;
    memset(c, 0, sizeof *c);
    for (int k = 0; k < bands; k++) {
        size_t bytes = (size_t)(longest[k] + LANES) * sizeof(double);
        c->band[k].time = malloc(bytes);
        c->band[k].flux = malloc(bytes);
        c->band[k].weight = malloc(bytes);
        ok = ok && c->band[k].time && c->band[k].flux && c->band[k].weight;
    }
    return ok;
}

static void AT_LEVEL(lens_release)(lens_curve *c, int bands)
{
    for (int k = 0; k < bands; k++) {
        free(c->band[k].time);
        free(c->band[k].flux);
        free(c->band[k].weight);
    }
}
