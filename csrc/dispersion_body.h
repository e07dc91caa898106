/* Body of dispersion.c, compiled once per vector level (levels.h). */

/* --- light along the trace ---------------------------------------------------------------------- */

/* Four times half, the first moment of uniform light over +- half, of the part below z; and its integral by z. */
static inline float AT_LEVEL(bowl)(float z, float half, float *integral)
{
    float t = z < half ? z : half;
    t = t > -half ? t : -half;
    *integral = t * fmaf(t, t * (1.0f / 3), -half * half);
    return fmaf(t, t, -half * half);
}

/* Pieces of light, WIDE at a time: their shares in ROWS detector rows from the first that they reach; the first two
 * derivatives by the place of the light; and the first moments in y of what falls in a row, within the stamp pixel and
 * within the piece, as they show in x. */
static void AT_LEVEL(row_shares)(disperser *k, pieces *p)
{
    float side = k->side, per_side = k->per_side, half = 0.5f * side, skew = (float)(k->b / k->d) * 0.5f * per_side;
    for (int l = 0; l < WIDE; l++) {
        double low = p->y[l] + k->phase + 0.5 - 0.5 * ((double)side + p->length[l]), row = floor(low);
        p->row[l] = row;
        p->low[l] = (float)(low - row);
        p->from_row[l] = (float)(p->y[l] + k->phase - row);
        p->off[l] = (float)(p->x[l] - x_of_row(k, row - k->phase));
        p->slope[l] = (float)slope_of_row(k, row - k->phase);
    }
    float below[WIDE] = {0}, dense[WIDE] = {0}, step[WIDE] = {0}, moved[WIDE] = {0}, changed[WIDE] = {0};
    for (int n = 0; n < ROWS; n++) {
        for (int l = 0; l < WIDE; l++) {
            /* Uniform light over `side`, smeared over `length`: its part below the row's upper edge. */
            float length = (float)p->length[l], per_length = 1.0f / length, per = per_side * per_length;
            float u = (float)(n + 1) - p->low[l], v = u - side;
            float pu = u > 0 ? u : 0, pv = v > 0 ? v : 0;
            float tu = pu < length ? pu : length, tv = pv < length ? pv : length, half_per = 0.5f * per_length;
            float now = (fmaf(tu * tu, half_per, pu - tu) - fmaf(tv * tv, half_per, pv - tv)) * per_side;
            float density = (tu - tv) * per, z = u - half;
            /* An edge is within the smear where it is neither before nor after all of it. */
            float slope = (tu * (length - tu) > 0 ? per : 0) - (tv * (length - tv) > 0 ? per : 0);
            float extent = 0.5f * length, along = u - extent, i0, i1, d0, d1;
            float in_pixel = AT_LEVEL(bowl)(z, half, &i0) - AT_LEVEL(bowl)(z - length, half, &i1);
            float in_piece = AT_LEVEL(bowl)(along, extent, &d0) - AT_LEVEL(bowl)(along - side, extent, &d1);
            float by_pixel = skew * per_length, by_piece = p->slope[l] * 0.5f * per_length * per_side;
            float moment = fmaf(by_pixel, i0 - i1, by_piece * (d0 - d1));
            float change = fmaf(by_pixel, in_pixel, by_piece * in_piece);
            p->share[n][l] = now - below[l];
            p->first[n][l] = dense[l] - density;
            p->second[n][l] = slope - step[l];
            p->moment[n][l] = moment - moved[l];
            p->change[n][l] = changed[l] - change;
            below[l] = now;
            dense[l] = density;
            step[l] = slope;
            moved[l] = moment;
            changed[l] = change;
        }
    }
}

/* One piece: added to the moments, or its coefficient in them by the adjoint. */
static inline double AT_LEVEL(one_piece)(disperser *k, const pieces *p, int l)
{
    int64_t at = (int64_t)p->row[l] - k->first_row, rows = k->n_rows;
    if (at < 0 || at + ROWS > k->n_rows) return 0;
    float slope = p->slope[l], light = p->light[l], reach = (float)k->reach, sum = 0;
    float scale = (float)k->stretches / (2 * reach);
    for (int n = 0; n < ROWS; n++) {
        float dx = fmaf(-slope, (float)n, p->off[l]);
        int stretch = 0;
        if (k->stretches > 1) {
            stretch = (int)((p->from_row[l] - (float)n + reach) * scale);
            stretch = stretch < 0 ? 0 : stretch >= k->stretches ? k->stretches - 1 : stretch;
            dx = fmaf(-slope, ((float)stretch + 0.5f) / scale - reach, dx);
        }
        float *m = k->moments[stretch] + at + n;
        float share = p->share[n][l], first = p->first[n][l], moment = fmaf(share, dx, p->moment[n][l]);
        float change = fmaf(first, dx, p->change[n][l]);
        if (k->forward) {
            m[0] = fmaf(light, share, m[0]);
            m[rows] = fmaf(light, first, m[rows]);
            m[2 * rows] = fmaf(light, p->second[n][l], m[2 * rows]);
            m[3 * rows] = fmaf(light, moment, m[3 * rows]);
            m[4 * rows] = fmaf(light, change, m[4 * rows]);
        } else {
            sum = fmaf(share, m[0], fmaf(first, m[rows], fmaf(p->second[n][l], m[2 * rows], sum)));
            sum = fmaf(moment, m[3 * rows], fmaf(change, m[4 * rows], sum));
        }
    }
    return (double)sum;
}

static void AT_LEVEL(flush)(disperser *k, pieces *p)
{
    for (int l = p->n; l < WIDE; l++) {
        p->x[l] = p->x[0];
        p->y[l] = p->y[0];
        p->length[l] = p->length[0];
    }
    AT_LEVEL(row_shares)(k, p);
    for (int l = 0; l < p->n; l++) {
        double sum = AT_LEVEL(one_piece)(k, p, l);
        if (!k->forward) k->light[p->bin[l]] += sum * (double)p->light[l];
    }
    p->n = 0;
}

/* The light of the interval's bins; `upper`: the share of the plane at the upper end. */
static void AT_LEVEL(all_light)(disperser *k, int interval, int upper)
{
    const roman_traces *t = k->traces;
    int64_t s = k->source;
    int whole = k->sources->planes[s] == 1;
    const double *x = t->x + s * (t->bins + 1), *y = t->y + s * (t->bins + 1);
    /* A piece reaches ROWS rows at most, and is no longer than the stretches that tell light apart. */
    double most = k->stretches == 1 ? 3.0 - (double)k->side : 2 * k->reach / k->stretches;
    pieces p;
    p.n = 0;
    for (int bin = t->first[interval]; bin < t->first[interval + 1]; bin++) {
        double weight = whole ? 1.0 : upper ? t->share[bin] : 1.0 - t->share[bin];
        double dx = x[bin + 1] - x[bin], dy = y[bin + 1] - y[bin];
        if (weight == 0 || (k->forward && k->light[bin] == 0)) continue;
        int count = fabs(dy) < most && fabs(dx) < 0.04 ? 1 : (int)ceil(fmax(fabs(dy) / most, fabs(dx) * 25));
        double length = fabs(dy) / count;
        for (int i = 0; i < count; i++) {
            double at = (i + 0.5) / count;
            p.x[p.n] = fma(at, dx, x[bin]);
            p.y[p.n] = fma(at, dy, y[bin]);
            p.length[p.n] = length < 1e-3 ? 1e-3 : length;
            p.light[p.n] = (float)((k->forward ? k->light[bin] : 1.0) * weight / count);
            p.bin[p.n++] = bin;
            if (p.n == WIDE) AT_LEVEL(flush)(k, &p);
        }
    }
    if (p.n > 0) AT_LEVEL(flush)(k, &p);
}

/* --- stamp rows on the detector ----------------------------------------------------------------- */

/* Of the columns of one tile: how far each stamp pixel's centre is from its detector column. */
typedef struct {
    float place[WIDE]; /* in widths of a stamp pixel */
    float dx[WIDE];    /* of the stamp pixel from the tile's brightest column [undispersed px] */
    float middle;      /* of the places */
    float rim;         /* (width - 1) / 2, in widths: so far beyond its own column a pixel reaches when centred */
    float smooth;      /* half width of the corners' rounding, in widths */
    float per_width;   /* [1/px] */
    float half_pitch;  /* [undispersed px] */
} AT_LEVEL(tile);

/* max(0, z) with its corner rounded over +- smooth, and its slope. */
static inline float AT_LEVEL(ramp)(float z, float smooth, float per, float *slope)
{
    float raised = z + smooth, positive = raised > 0 ? raised : 0, twice = 2 * smooth;
    float t = positive < twice ? positive : twice;
    *slope = t * (2 * per);
    return fmaf(t * t, per, positive - t);
}

/* Where a stamp row at x is to be shared: with the right columns only, the left ones only, none, or it depends. */
enum { AT_LEVEL(RIGHT), AT_LEVEL(LEFT), AT_LEVEL(WITHIN), AT_LEVEL(MIXED) };

static inline int AT_LEVEL(side_of)(const AT_LEVEL(tile) * t, float lowest, float highest)
{
    float clear = fabsf(t->rim) + t->smooth;
    if (lowest > clear) return AT_LEVEL(RIGHT);
    if (highest < -clear) return AT_LEVEL(LEFT);
    return lowest > t->rim + t->smooth && highest < -t->rim - t->smooth ? AT_LEVEL(WITHIN) : AT_LEVEL(MIXED);
}

/* Sums over the stamp rows of one detector row: pixels times flux, and times flux and place in x; the same of what c
 * moves in y, which grows with a pixel's dx. */
typedef struct {
    float flux[WIDE], place[WIDE], tilt[WIDE], tilt_place[WIDE];
} AT_LEVEL(sums);

/* Shares the stamp rows of one detector row among the columns: all of it (all), and what goes to the columns on the
 * right and on the left. rows [n][SUMS][BLOCK]: flux, moment, tilt, its moment. */
static void AT_LEVEL(share_rows)(const disperser *k, const AT_LEVEL(tile) * t, const float *pixels, const int *members,
                                 int n, const float *rows, float *restrict all, float *restrict right,
                                 float *restrict left)
{
    AT_LEVEL(sums) s[3];
    float per = 0.25f / t->smooth, mixed[WIDE], to_right[WIDE], to_left[WIDE];
    memset(s, 0, sizeof s);
    for (int q = 0; q < WIDE; q++) mixed[q] = to_right[q] = to_left[q] = 0;
    for (int i = 0; i < n;) {
        float x = k->place[i];
        int side = AT_LEVEL(side_of)(t, x + k->lowest[i], x + k->highest[i]);
        if (side == AT_LEVEL(MIXED)) {
            const float *restrict pixel = pixels + (int64_t)members[i] * WIDE, *sum = rows + SUMS * BLOCK * i++;
            float flux = sum[0], moment = sum[BLOCK], tilt = sum[2 * BLOCK], twist = sum[3 * BLOCK];
            for (int q = 0; q < WIDE; q++) {
                float value = pixel[q] * fmaf(tilt, t->dx[q], flux), change = pixel[q] * fmaf(twist, t->dx[q], moment);
                float at = x + t->place[q], up, down, inner = pixel[q] * (tilt * t->half_pitch);
                float r = AT_LEVEL(ramp)(t->rim + at, t->smooth, per, &up);
                float l = AT_LEVEL(ramp)(t->rim - at, t->smooth, per, &down);
                mixed[q] += value;
                to_right[q] = fmaf(value, r, fmaf(change, up, fmaf(inner, r * (1 - r), to_right[q])));
                to_left[q] = fmaf(value, l, fmaf(-change, down, fmaf(-inner, l * (1 - l), to_left[q])));
            }
            continue;
        }
        AT_LEVEL(sums) run = s[side];
        do {
            const float *restrict pixel = pixels + (int64_t)members[i] * WIDE, *sum = rows + SUMS * BLOCK * i;
            float flux = sum[0], lever = fmaf(flux, k->place[i], sum[BLOCK]);
            float tilt = sum[2 * BLOCK], twist = fmaf(tilt, k->place[i], sum[3 * BLOCK]);
            for (int q = 0; q < WIDE; q++) {
                run.flux[q] = fmaf(pixel[q], flux, run.flux[q]);
                run.place[q] = fmaf(pixel[q], lever, run.place[q]);
                run.tilt[q] = fmaf(pixel[q], tilt, run.tilt[q]);
                run.tilt_place[q] = fmaf(pixel[q], twist, run.tilt_place[q]);
            }
        } while (++i < n && AT_LEVEL(side_of)(t, k->place[i] + k->lowest[i], k->place[i] + k->highest[i]) == side);
        s[side] = run;
    }
    float x = k->place[k->brightest];
    for (int q = 0; q < WIDE; q++) {
        float to_r = t->rim + t->place[q], to_l = t->rim - t->place[q], dx = t->dx[q];
        float value = fmaf(s[0].tilt[q], dx, s[0].flux[q]), other = fmaf(s[1].tilt[q], dx, s[1].flux[q]);
        float inner_r = fmaf(s[0].tilt[q], fmaf(to_r, 1 - to_r, x * x), s[0].tilt_place[q] * (1 - 2 * (to_r + x)));
        float inner_l = fmaf(s[1].tilt[q], fmaf(to_l, 1 - to_l, x * x), s[1].tilt_place[q] * (2 * (to_l - x) - 1));
        right[q] = fmaf(value, to_r, fmaf(s[0].tilt_place[q], dx, fmaf(t->half_pitch, inner_r, s[0].place[q]))) + to_right[q];
        left[q] = fmaf(other, to_l, to_left[q]) - fmaf(s[1].tilt_place[q], dx, fmaf(t->half_pitch, inner_l, s[1].place[q]));
        all[q] = (value + other) + (mixed[q] + fmaf(s[2].tilt[q], dx, s[2].flux[q]));
    }
}

/* The adjoint: sums over stamp row i's pixels of the detector row `in`, which reaches from -1 to WIDE. */
static void AT_LEVEL(gather_row)(const disperser *k, const AT_LEVEL(tile) * t, const float *restrict pixel, int i,
                                 const float *restrict in, float *sums)
{
    float per = 0.25f / t->smooth, x = k->place[i], middle = k->place[k->brightest];
    float f[WIDE], m[WIDE], g[WIDE], h[WIDE];
    int side = AT_LEVEL(side_of)(t, x + k->lowest[i], x + k->highest[i]);
    float right = side == AT_LEVEL(RIGHT), left = side == AT_LEVEL(LEFT), mix = side == AT_LEVEL(MIXED);
    for (int q = 0; q < WIDE; q++) {
        float at = x + t->place[q], to_right = in[q + 1] - in[q], to_left = in[q - 1] - in[q], up, down;
        float to_r = t->rim + t->place[q], to_l = t->rim - t->place[q];
        float r = AT_LEVEL(ramp)(t->rim + at, t->smooth, per, &up), l = AT_LEVEL(ramp)(t->rim - at, t->smooth, per, &down);
        r = fmaf(mix, r, right * (t->rim + at));
        l = fmaf(mix, l, left * (t->rim - at));
        up = fmaf(mix, up, right);
        down = fmaf(mix, down, left);
        f[q] = pixel[q] * fmaf(r, to_right, fmaf(l, to_left, in[q]));
        m[q] = pixel[q] * fmaf(up, to_right, -down * to_left);
        /* Within a stamp pixel: in its own place, or about that of the brightest row where rows are summed first. */
        float slope_r = right * (1 - 2 * (to_r + middle)), slope_l = left * (2 * (to_l - middle) - 1);
        float inner_r = fmaf(mix, r * (1 - r), fmaf(right, fmaf(to_r, 1 - to_r, middle * middle), slope_r * x));
        float inner_l = fmaf(mix, l * (1 - l), fmaf(left, fmaf(to_l, 1 - to_l, middle * middle), slope_l * x));
        float inner = pixel[q] * t->half_pitch;
        g[q] = fmaf(f[q], t->dx[q], inner * fmaf(inner_r, to_right, -inner_l * to_left));
        h[q] = fmaf(m[q], t->dx[q], inner * fmaf(slope_r, to_right, -slope_l * to_left));
    }
    sums[0] = LANES_SUM(f) + LANES_SUM(f + LANES);
    sums[BLOCK] = LANES_SUM(m) + LANES_SUM(m + LANES);
    sums[2 * BLOCK] = LANES_SUM(g) + LANES_SUM(g + LANES);
    sums[3 * BLOCK] = LANES_SUM(h) + LANES_SUM(h + LANES);
}

/* --- tiles -------------------------------------------------------------------------------------- */

/* Columns of tile `block` of column phase `phase`, which are `spread` stamp pixels apart: about one detector px. */
static AT_LEVEL(tile) AT_LEVEL(make_tile)(disperser *k, int phase, int block, const float *pixels, const int *members,
                                          int n)
{
    AT_LEVEL(tile) t;
    double width = k->width, low = INFINITY, high = -INFINITY;
    /* x of the light of one detector row: along the trace, over the detector row and the stamp pixel's height, and
     * over the stamp pixel's shear. Uniform light over +- smooth has the same variance. */
    double along = k->stretches == 1 ? 1 : 2 * k->reach / k->stretches;
    double sheared = (k->drift * k->d - k->b) * k->pitch;
    double smooth = 0.5 * sqrt(k->slope * k->slope * along * along + sheared * sheared);
    t.per_width = (float)(1 / width);
    t.rim = (float)((width - 1) / 2 / width);
    t.smooth = (float)((smooth < 1e-4 ? 1e-4 : smooth) / width);
    t.half_pitch = (float)(0.5 * k->pitch);
    for (int q = 0; q < WIDE; q++) {
        int j = phase + k->spread * (block * k->use + q), inside = j < k->nx && q < k->use;
        double dx = fma(j, k->pitch, k->x), from_brightest = dx - k->bright_x;
        double place = (k->a * dx - k->drift * k->c * from_brightest - q) / width;
        t.dx[q] = inside ? (float)from_brightest : 0;
        t.place[q] = inside ? (float)place : t.place[q > 0 ? q - 1 : 0];
        if (inside && place < low) low = place;
        if (inside && place > high) high = place;
    }
    t.middle = (float)(0.5 * (low + high));
    for (int i = 0; i < n; i++) {
        const float *pixel = pixels + (int64_t)members[i] * WIDE;
        k->lowest[i] = INFINITY;
        k->highest[i] = -INFINITY;
        for (int q = 0; q < k->use; q++) {
            if (fabsf(pixel[q]) <= FAINT * k->peak) continue;
            if (t.place[q] < k->lowest[i]) k->lowest[i] = t.place[q];
            if (t.place[q] > k->highest[i]) k->highest[i] = t.place[q];
        }
        if (k->lowest[i] > k->highest[i]) k->lowest[i] = k->highest[i] = t.middle;
    }
    return t;
}

/* Detector rows `row` to row + BLOCK - 1, as rows of the moments of stamp row i: the part that they have. */
static int64_t AT_LEVEL(in_moments)(const disperser *k, int i, int64_t row, int64_t *from, int64_t *to)
{
    int64_t at = row - k->base[i] - k->first_row;
    *from = at < 0 ? -at : 0;
    *to = k->n_rows - at < BLOCK ? k->n_rows - at : BLOCK;
    return at;
}

/* Flux, moment, tilt and its moment of stamp row i in detector rows from `row` on, from the moments of its group:
 * [SUMS][BLOCK]. */
static void AT_LEVEL(expand)(const disperser *k, int i, int stretch, int64_t row, float *restrict sums)
{
    float off = k->offset[i], half = 0.5f * off * off, per_width = (float)(1 / k->width), c = (float)k->c;
    float slope = (float)k->drift, twist = c * per_width;
    int64_t from, to, at = AT_LEVEL(in_moments)(k, i, row, &from, &to), rows = k->n_rows;
    const float *restrict m = k->moments[stretch] + at;
    if (from > 0 || to < BLOCK) memset(sums, 0, SUMS * BLOCK * sizeof *sums);
    for (int64_t r = from; r < to; r++) {
        float flux = fmaf(half, m[r + 2 * rows], fmaf(off, m[r + rows], m[r]));
        sums[r] = flux;
        sums[BLOCK + r] = fmaf(slope * off, flux, fmaf(off, m[r + 4 * rows], m[r + 3 * rows])) * per_width;
        sums[2 * BLOCK + r] = fmaf(off, m[r + 2 * rows], m[r + rows]) * c;
        sums[3 * BLOCK + r] = fmaf(slope, flux, m[r + 4 * rows]) * twist;
    }
}

/* Its adjoint. */
static void AT_LEVEL(collect)(const disperser *k, int i, int stretch, int64_t row, const float *restrict sums)
{
    float off = k->offset[i], half = 0.5f * off * off, per_width = (float)(1 / k->width), c = (float)k->c;
    float slope = (float)k->drift, twist = c * per_width;
    int64_t from, to, at = AT_LEVEL(in_moments)(k, i, row, &from, &to), rows = k->n_rows;
    float *restrict m = k->moments[stretch] + at;
    for (int64_t r = from; r < to; r++) {
        float moment = sums[BLOCK + r] * per_width, tilt = sums[2 * BLOCK + r] * c, twisted = sums[3 * BLOCK + r] * twist;
        float flux = fmaf(slope * off, moment, fmaf(slope, twisted, sums[r]));
        m[r] += flux;
        m[r + rows] = fmaf(off, flux, m[r + rows] + tilt);
        m[r + 2 * rows] = fmaf(half, flux, fmaf(off, tilt, m[r + 2 * rows]));
        m[r + 3 * rows] += moment;
        m[r + 4 * rows] = fmaf(off, moment, m[r + 4 * rows] + twisted);
    }
}

/* The cut-out's row of detector row `row` of a tile, and where the tile's stamp rows are in it. `y`: where on the trace
 * light comes from that falls there, for a stamp row at the trace. */
static float *AT_LEVEL(row_start)(disperser *k, const AT_LEVEL(tile) * t, const int *members, int n, double y,
                                  int64_t row)
{
    double slope = slope_of_row(k, y), x = x_of_row(k, y);
    double first = k->shift[0] - slope * k->base[members[0]], last = k->shift[n - 1] - slope * k->base[members[n - 1]];
    double middle = x + 0.5 * (first + last);
    double start = floor(middle + (double)t->middle / (double)t->per_width + 0.5);
    int64_t column = (int64_t)start - k->box_column;
    if (column < 1 || column + WIDE + 1 > k->stride) {
        k->status = ROMAN_ERR_ARGUMENT;
        return NULL;
    }
    float from_start = (float)(x - start), fall = (float)-slope;
    for (int i = 0; i < n; i++) {
        k->place[i] = (from_start + fmaf(fall, (float)k->base[members[i]], k->shift[i])) * t->per_width;
    }
    return k->cutout + (row - k->box_row) * k->stride + column;
}

/* One block of detector rows of one tile with n stamp rows. */
static void AT_LEVEL(tile_rows)(disperser *k, const AT_LEVEL(tile) * t, const float *pixels, const int *members,
                                int n, int stretch, double y_first, int64_t row, int64_t count)
{
    float all[BLOCK][WIDE], right[BLOCK][WIDE], left[BLOCK][WIDE], *out[BLOCK];
    for (int i = 0; i < n; i++) AT_LEVEL(expand)(k, members[i], stretch, row, k->row_sums + SUMS * BLOCK * i);
    for (int64_t at = 0; at < count; at++) {
        out[at] = AT_LEVEL(row_start)(k, t, members, n, y_first + (double)at, row + at);
        if (!out[at]) return;
        AT_LEVEL(share_rows)(k, t, pixels, members, n, k->row_sums + at, all[at], right[at], left[at]);
    }
    /* The three overlap in memory: one after the other, each for all rows. */
    for (int64_t at = 0; at < count; at++) {
        float *restrict here = out[at];
        for (int q = 0; q < WIDE; q++) here[q] += (all[at][q] - right[at][q]) - left[at][q];
    }
    for (int64_t at = 0; at < count; at++) {
        float *restrict here = out[at] + 1;
        for (int q = 0; q < WIDE; q++) here[q] += right[at][q];
    }
    for (int64_t at = 0; at < count; at++) {
        float *restrict here = out[at] - 1;
        for (int q = 0; q < WIDE; q++) here[q] += left[at][q];
    }
}

static void AT_LEVEL(gather_rows)(disperser *k, const AT_LEVEL(tile) * t, const float *pixels, const int *members,
                                  int n, int stretch, double y_first, int64_t row, int64_t count)
{
    memset(k->row_sums, 0, sizeof(float) * SUMS * BLOCK * (size_t)n);
    for (int64_t at = 0; at < count; at++) {
        const float *in = AT_LEVEL(row_start)(k, t, members, n, y_first + (double)at, row + at);
        if (!in) return;
        for (int i = 0; i < n; i++) {
            AT_LEVEL(gather_row)(k, t, pixels + (int64_t)members[i] * WIDE, i, in, k->row_sums + SUMS * BLOCK * i + at);
        }
    }
    for (int i = 0; i < n; i++) AT_LEVEL(collect)(k, members[i], stretch, row, k->row_sums + SUMS * BLOCK * i);
}

/* All detector rows of one tile. */
static void AT_LEVEL(one_tile)(disperser *k, int phase, int block, const int *members, int n, int stretch)
{
    const float *pixels = k->pixels + ((int64_t)phase * k->blocks + block) * k->ny * WIDE;
    AT_LEVEL(tile) t = AT_LEVEL(make_tile)(k, phase, block, pixels, members, n);
    double centre = k->stretches == 1 ? 0 : (stretch + 0.5) * (2 * k->reach / k->stretches) - k->reach;
    int64_t from = INT64_MAX, to = INT64_MIN;
    k->brightest = 0;
    for (int i = 0; i < n; i++) {
        if (k->bright[members[i]] > k->bright[members[k->brightest]]) k->brightest = i;
        k->shift[i] = (float)to_row(k, members[i]);
        int64_t low = k->first_row + k->base[members[i]], high = low + k->n_rows;
        if (low < from) from = low;
        if (high > to) to = high;
    }
    if (from < k->box_row) from = k->box_row;
    if (to > k->box_row + k->rows) to = k->box_row + k->rows;
    for (int64_t row = from; row < to && k->status == ROMAN_OK; row += BLOCK) {
        int64_t count = to - row < BLOCK ? to - row : BLOCK;
        double y_first = (double)row + centre - k->phase;
        if (k->forward) AT_LEVEL(tile_rows)(k, &t, pixels, members, n, stretch, y_first, row, count);
        else AT_LEVEL(gather_rows)(k, &t, pixels, members, n, stretch, y_first, row, count);
    }
}

/* --- one source --------------------------------------------------------------------------------- */

/* The stamp's pixels in the layout of the tiles, and the brightest of each row. */
static void AT_LEVEL(lay_out)(disperser *k)
{
    for (int phase = 0; phase < k->spread; phase++) {
        for (int block = 0; block < k->blocks; block++) {
            float *out = k->pixels + ((int64_t)phase * k->blocks + block) * k->ny * WIDE;
            for (int i = 0; i < k->ny; i++) {
                for (int q = 0; q < WIDE; q++) {
                    int j = phase + k->spread * (block * k->use + q);
                    out[(int64_t)i * WIDE + q] = j < k->nx && q < k->use ? k->plane[(int64_t)i * k->nx + j] : 0.0f;
                }
            }
        }
    }
    k->peak = 0;
    for (int i = 0; i < k->ny; i++) {
        k->bright[i] = 0;
        for (int j = 0; j < k->nx; j++) {
            float value = fabsf(k->plane[(int64_t)i * k->nx + j]);
            if (value > k->bright[i]) k->bright[i] = value;
        }
        if (k->bright[i] > k->peak) k->peak = k->bright[i];
    }
}

/* The column with the brightest pixel of a tile: what c moves in y is expanded about it. */
static int AT_LEVEL(brightest_column)(const disperser *k, int block)
{
    int columns = k->use * k->spread, first = block * columns, best = first;
    int end = first + columns < k->nx ? first + columns : k->nx;
    float most = 0;
    for (int i = 0; i < k->ny; i++) {
        for (int j = first; j < end; j++) {
            float value = fabsf(k->plane[(int64_t)i * k->nx + j]);
            if (value > most) {
                most = value;
                best = j;
            }
        }
    }
    return best;
}

/* The next group of stamp rows: those whose phase is so near to that of the brightest one left that the expansion
 * does. Returns how many, in k->member. */
static int AT_LEVEL(next_group)(disperser *k)
{
    int lead = -1, n = 0;
    for (int i = 0; i < k->ny; i++) {
        if (k->pending[i] && (lead < 0 || k->bright[i] > k->bright[lead])) lead = i;
    }
    if (lead < 0) return 0;
    double place = place_of_row(k, lead);
    k->phase = place - floor(place);
    for (int i = 0; i < k->ny; i++) {
        if (!k->pending[i]) continue;
        double from_phase = place_of_row(k, i) - k->phase, whole = floor(from_phase + 0.5), off = from_phase - whole;
        int near = fabs(off) < 0.2 && off * off * (double)k->bright[i] < PHASE_ERROR * (double)k->peak;
        if (i != lead && !near) continue;
        k->base[i] = (int)whole;
        k->offset[i] = (float)off;
        k->pending[i] = 0;
        k->member[n++] = i;
    }
    return n;
}

static void AT_LEVEL(one_group)(disperser *k, int n, int block, int interval, int upper)
{
    for (int s = 0; s < k->stretches; s++) memset(k->moments[s], 0, sizeof(float) * MOMENTS * (size_t)k->n_rows);
    if (k->forward) AT_LEVEL(all_light)(k, interval, upper);
    double shear = (fabs(k->b) + fabs(k->slope)) * k->pitch;
    for (int begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && (k->member[end] - k->member[begin]) * shear * k->spread < SHEAR; end++) {}
        for (int phase = 0; phase < k->spread && block * k->use * k->spread + phase < k->nx; phase++) {
            for (int s = 0; s < k->stretches; s++) AT_LEVEL(one_tile)(k, phase, block, k->member + begin, end - begin, s);
        }
    }
    if (!k->forward) AT_LEVEL(all_light)(k, interval, upper);
}

/* Geometry of an interval: its matrix, the straight line through its trace, the rows that its light may reach. */
static int AT_LEVEL(set_interval)(disperser *k, int interval)
{
    const roman_traces *t = k->traces;
    const double *matrix = t->matrix + (k->source * t->intervals + interval) * 4;
    const double *x = t->x + k->source * (t->bins + 1), *y = t->y + k->source * (t->bins + 1);
    int from = t->first[interval], to = t->first[interval + 1];
    double low = y[from], high = y[from], dx = x[to] - x[from], dy = y[to] - y[from], longest = 0;
    if (from == to) return 0;
    for (int bin = from; bin < to; bin++) {
        low = y[bin + 1] < low ? y[bin + 1] : low;
        high = y[bin + 1] > high ? y[bin + 1] : high;
        longest = fabs(y[bin + 1] - y[bin]) > longest ? fabs(y[bin + 1] - y[bin]) : longest;
    }
    k->a = matrix[0];
    k->b = matrix[1];
    k->c = matrix[2];
    k->d = matrix[3];
    k->side = (float)(fabs(k->d) * k->pitch);
    k->per_side = 1.0f / k->side;
    k->slope = fabs(dy) > 0.5 ? dx / dy : 0;
    int half = (from + to) / 2;
    k->x_middle = x[half];
    k->y_middle = y[half];
    /* The parabola through both ends and the middle. */
    double before = y[half] - y[from], after = y[to] - y[half];
    k->bend = 0;
    if (fabs(before) > 1 && fabs(after) > 1 && before * after > 0) {
        double first = (x[half] - x[from]) / before, last = (x[to] - x[half]) / after;
        k->bend = (last - first) / dy;
        k->slope = first + k->bend * before;
    }
    k->reach = 0.5 * (1 + fabs(k->d) * k->pitch + (longest < 1 ? longest : 1));
    k->stretches = stretches_of(k->slope);
    /* What is moved in y sees light from elsewhere on the trace, unless the stretches tell the light apart. */
    k->drift = k->stretches == 1 ? k->slope : 0;
    k->width = (k->a - k->drift * k->c) * k->pitch;
    k->first_row = (int64_t)floor(low) - 3;
    k->n_rows = (int64_t)ceil(high) + 5 - k->first_row;
    return 1;
}

static int AT_LEVEL(one_source)(disperser *k)
{
    const roman_traces *t = k->traces;
    const roman_sources *o = k->sources;
    int planes = o->planes[k->source];
    for (int j = 0; j < t->intervals; j++) {
        if (!AT_LEVEL(set_interval)(k, j)) continue;
        for (int upper = 0; upper < (planes == 1 ? 1 : 2); upper++) {
            if (planes > 1 || k->plane == NULL) {
                k->plane = o->stamps + o->start[k->source] + (int64_t)(planes > 1 ? j + upper : 0) * k->ny * k->nx;
                AT_LEVEL(lay_out)(k);
            }
            for (int block = 0; block < k->blocks; block++) {
                k->bright_x = fma(AT_LEVEL(brightest_column)(k, block), k->pitch, k->x);
                for (int i = 0; i < k->ny; i++) k->pending[i] = k->bright[i] > 0;
                for (int n; (n = AT_LEVEL(next_group)(k)) > 0;) AT_LEVEL(one_group)(k, n, block, j, upper);
            }
            if (k->status != ROMAN_OK) return k->status;
        }
    }
    return ROMAN_OK;
}
