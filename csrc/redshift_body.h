/* Body of redshift.c, compiled once per vector level (levels.h). Lanes are redshifts. */

#ifndef SCAN_TILE
#define SCAN_TILE 16   /* pixels whose templates are held at once */
#define SCAN_COLUMNS (ROMAN_SCAN_CONTINUA + 4) /* of a tile: continua, the flux, and idle ones that fill a group */
#define SCAN_REACH 5.0 /* a line is drawn to this many sigma */
#define SCAN_PAIRS (ROMAN_SCAN_COLUMNS * (ROMAN_SCAN_COLUMNS + 1) / 2)
#define SCAN_FIRST_PAIR(i) ((i) * ((i) + 1) / 2) /* of row i of a lower triangle */

typedef struct {
    double *chi2, *log_evidence, *amplitude;
} scan_found;

/* The vectors come first and are whole cache lines: the structure is allocated on one. */
typedef struct {
    double h[SCAN_PAIRS][LANES], b[ROMAN_SCAN_COLUMNS][LANES];
    double tile[SCAN_TILE][SCAN_COLUMNS][LANES]; /* continua and flux of some pixels, in units of sigma */
    const roman_scan_templates *t;
    int64_t n;
    const double *wavelength;
    double *root;      /* [n] 1 / sigma */
    double *scaled;    /* [n] flux / sigma */
    double *cell;      /* [n] table cell of a pixel at z = 0 */
    double *lsf;       /* [n_lsf] at equal steps of ln(wavelength) from lsf_start */
    double lsf_start;
    int64_t n_lsf;
    double *lines;     /* [n_line_columns][n][LANES]; zero but where `present` says so */
    uint32_t *present; /* [n] bit per line column */
    double widest;     /* largest lsf */
} scan_work;
#endif

/* exp(-q) for 0 <= q < 700: 2^k times a Taylor series on |r| <= ln 2 / 2. */
static void AT_LEVEL(exp_minus)(const double *q, double *out)
{
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: rounds to an integer in the low bits */
    for (int64_t l = 0; l < LANES; l++) {
        double k = fma(-q[l], 1.4426950408889634, shift);
        int64_t bits;
        memcpy(&bits, &k, sizeof bits);
        k -= shift;
        double r = fma(k, -1.9082149292705877e-10, fma(k, -0.6931471803691238, -q[l]));
        double p = 1.0 / 39916800;
        p = fma(p, r, 1.0 / 3628800);
        p = fma(p, r, 1.0 / 362880);
        p = fma(p, r, 1.0 / 40320);
        p = fma(p, r, 1.0 / 5040);
        p = fma(p, r, 1.0 / 720);
        p = fma(p, r, 1.0 / 120);
        p = fma(p, r, 1.0 / 24);
        p = fma(p, r, 1.0 / 6);
        p = fma(p, r, 0.5);
        p = fma(p, r, 1.0);
        p = fma(p, r, 1.0);
        uint64_t power = ((uint64_t)bits + 1023) << 52;
        double scale;
        memcpy(&scale, &power, sizeof scale);
        out[l] = p * scale;
    }
}

/* First pixel at or beyond a wavelength. */
static int64_t AT_LEVEL(first_pixel)(const scan_work *k, double wavelength)
{
    int64_t low = 0, high = k->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (k->wavelength[middle] < wavelength) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Sigma of the line-spread function at a wavelength; beyond the spectrum, that of its end. */
static double AT_LEVEL(lsf_at)(const scan_work *k, double log_wavelength)
{
    double at = (log_wavelength - k->lsf_start) / k->t->log_step;
    at = fmin(fmax(at, 0), (double)(k->n_lsf - 2));
    int64_t cell = (int64_t)at;
    return fma(at - (double)cell, k->lsf[cell + 1] - k->lsf[cell], k->lsf[cell]);
}

/* Draws line j at the redshifts of the lanes, or (draw = 0) wipes the pixels that it may have touched. */
static void AT_LEVEL(draw_line)(scan_work *k, int j, const double *log_z, const double *one_plus_z, int draw)
{
    const roman_scan_templates *t = k->t;
    double centre[LANES], low = INFINITY, high = 0;
    for (int64_t l = 0; l < LANES; l++) {
        centre[l] = t->line_wavelength[j] * one_plus_z[l];
        low = fmin(low, centre[l]);
        high = fmax(high, centre[l]);
    }
    double own = high * t->line_width[j], reach = SCAN_REACH * sqrt(fma(k->widest, k->widest, own * own));
    int64_t first = AT_LEVEL(first_pixel)(k, low - reach), last = AT_LEVEL(first_pixel)(k, high + reach);
    if (first >= last) return;
    double *column = k->lines + t->line_column[j] * k->n * LANES;
    if (!draw) {
        memset(column + first * LANES, 0, (size_t)(last - first) * LANES * sizeof *column);
        memset(k->present + first, 0, (size_t)(last - first) * sizeof *k->present);
        return;
    }
    double half_inverse[LANES], height[LANES], log_wavelength = log(t->line_wavelength[j]);
    for (int l = 0; l < LANES; l++) {
        double lsf = AT_LEVEL(lsf_at)(k, log_wavelength + log_z[l]);
        double inverse = 1 / fma(lsf, lsf, centre[l] * t->line_width[j] * centre[l] * t->line_width[j]);
        half_inverse[l] = 0.5 * inverse;
        height[l] = t->line_flux[j] * 0.3989422804014327 * sqrt(inverse);
    }
    for (int64_t p = first; p < last; p++) {
        double q[LANES], value[LANES], *at = column + p * LANES;
        for (int64_t l = 0; l < LANES; l++) {
            double away = k->wavelength[p] - centre[l];
            q[l] = away * away * half_inverse[l];
            q[l] = q[l] < 600 ? q[l] : 600;
        }
        AT_LEVEL(exp_minus)(q, value);
        for (int64_t l = 0; l < LANES; l++) at[l] = fma(height[l], value[l], at[l]);
        k->present[p] |= (uint32_t)1 << t->line_column[j];
    }
}

/* Continua, in units of sigma, of pixel p at the redshifts of the lanes: cells `shift` above the pixel's own. */
static void AT_LEVEL(continua_at)(const scan_work *k, int64_t p, const double *shift, int consecutive,
                                  double (*restrict value)[LANES])
{
    const roman_scan_templates *t = k->t;
    double root = k->root[p], from[LANES], fraction[LANES];
    if (consecutive) {
        double at = fmax(k->cell[p] + shift[0], 0), whole = floor(at); /* rounding must not lead out */
        double part = (at - whole) * root;
        for (int i = 0; i < t->n_continua; i++) {
            const double *row = t->continua + i * t->n_cells + (int64_t)whole, *next = row + 1;
            double *to = value[i];
            for (int64_t l = 0; l < LANES; l++) to[l] = fma(part, next[l] - row[l], root * row[l]);
        }
        return;
    }
    int32_t index[LANES];
    for (int64_t l = 0; l < LANES; l++) {
        double at = k->cell[p] + shift[l];
        at = at > 0 ? at : 0;
        from[l] = floor(at);
        fraction[l] = (at - from[l]) * root;
        index[l] = (int32_t)from[l];
    }
    for (int i = 0; i < t->n_continua; i++) {
        const double *row = t->continua + i * t->n_cells;
        for (int64_t l = 0; l < LANES; l++) {
            double a = row[index[l]], b = row[index[l] + 1];
            value[i][l] = fma(fraction[l], b - a, root * a);
        }
    }
}

/* Adds the columns of lines that are present in a pixel; `value` are its continua. */
static void AT_LEVEL(add_lines)(scan_work *restrict k, int64_t p, double (*restrict value)[LANES])
{
    int nc = k->t->n_continua;
    uint32_t todo = k->present[p];
    const double *pixel = k->lines + p * LANES;
    while (todo) {
        int c = __builtin_ctz(todo);
        todo &= todo - 1;
        const double *line = pixel + (int64_t)c * k->n * LANES;
        double w[LANES];
        double *b = k->b[nc + c];
        for (int64_t l = 0; l < LANES; l++) {
            w[l] = k->root[p] * line[l];
            b[l] = fma(k->scaled[p], w[l], b[l]);
        }
        double(*row)[LANES] = k->h + SCAN_FIRST_PAIR(nc + c);
        for (int i = 0; i < nc; i++) {
            for (int64_t l = 0; l < LANES; l++) row[i][l] = fma(w[l], value[i][l], row[i][l]);
        }
        uint32_t others = k->present[p] & (((uint32_t)2 << c) - 1);
        while (others) {
            int d = __builtin_ctz(others);
            others &= others - 1;
            const double *other = pixel + (int64_t)d * k->n * LANES;
            for (int64_t l = 0; l < LANES; l++) row[nc + d][l] = fma(w[l], k->root[p] * other[l], row[nc + d][l]);
        }
    }
}

/* Adds rows i, i + 1 by `width` columns from j of the tile's products: registers hold the sums. `width` is a
 * constant wherever this is called. */
static inline void AT_LEVEL(add_block)(scan_work *restrict k, int64_t pixels, int64_t i, int64_t j, const int64_t width)
{
    int64_t nc = k->t->n_continua;
    double sum[2][4][LANES];
    memset(sum, 0, sizeof sum);
    for (int64_t q = 0; q < pixels; q++) {
        const double *a = k->tile[q][i], *b = k->tile[q][i + 1];
        for (int64_t m = 0; m < width; m++) {
            const double *c = k->tile[q][j + m];
            for (int64_t l = 0; l < LANES; l++) {
                sum[0][m][l] = fma(a[l], c[l], sum[0][m][l]);
                sum[1][m][l] = fma(b[l], c[l], sum[1][m][l]);
            }
        }
    }
    for (int64_t r = i; r <= i + 1 && r <= nc; r++) {
        double(*row)[LANES] = r < nc ? k->h + SCAN_FIRST_PAIR(r) : k->b;
        for (int64_t m = 0; m < width && j + m < nc && j + m <= r; m++) {
            for (int64_t l = 0; l < LANES; l++) row[j + m][l] += sum[r - i][m][l];
        }
    }
}

/* Adds the products of the tile's columns: the lower triangle of the continua, and below it the flux. */
static void AT_LEVEL(add_tile)(scan_work *restrict k, int64_t pixels)
{
    int64_t nc = k->t->n_continua;
    for (int64_t i = 0; i <= nc; i += 2) {
        int64_t n = i + 2 < nc ? i + 2 : nc, j = 0;
        for (; n - j > 2; j += 4) AT_LEVEL(add_block)(k, pixels, i, j, 4);
        if (j < n) AT_LEVEL(add_block)(k, pixels, i, j, 2);
    }
}

/* Normal matrices and right-hand sides of the redshifts of the lanes. */
static void AT_LEVEL(normal_matrices)(scan_work *restrict k, const double *shift, int consecutive)
{
    int nc = k->t->n_continua;
    memset(k->h, 0, SCAN_FIRST_PAIR(nc + k->t->n_line_columns) * sizeof *k->h);
    memset(k->b, 0, sizeof k->b);
    for (int64_t start = 0; start < k->n; start += SCAN_TILE) {
        int pixels = k->n - start < SCAN_TILE ? (int)(k->n - start) : SCAN_TILE;
        for (int q = 0; q < pixels; q++) {
            AT_LEVEL(continua_at)(k, start + q, shift, consecutive, k->tile[q]);
            for (int64_t l = 0; l < LANES; l++) k->tile[q][nc][l] = k->scaled[start + q];
            if (k->present[start + q]) AT_LEVEL(add_lines)(k, start + q, k->tile[q]);
        }
        AT_LEVEL(add_tile)(k, pixels);
    }
}

/* Solves one lane: chi2, evidence and amplitudes. `x` carries the positive columns to the next redshift. */
static void AT_LEVEL(solve_lane)(const scan_work *k, int lane, double total, const double *rate, double *x,
                                 scan_found *found, int64_t z)
{
    int nc = k->t->n_continua, n = nc + k->t->n_line_columns;
    double h[ROMAN_SCAN_COLUMNS * ROMAN_SCAN_COLUMNS] = {0}, c[ROMAN_SCAN_COLUMNS] = {0};
    double unit[ROMAN_SCAN_COLUMNS], log_prior = 0;
    for (int i = 0; i < n; i++) {
        double norm = k->h[SCAN_FIRST_PAIR(i) + i][lane];
        unit[i] = norm > 1e-290 ? 1 / sqrt(norm) : 0;
        double slope = i < nc ? 0 : rate[i - nc] * unit[i];
        c[i] = fma(k->b[i][lane], unit[i], -slope);
        for (int j = 0; j < i; j++) {
            h[i * n + j] = h[j * n + i] = k->h[SCAN_FIRST_PAIR(i) + j][lane] * unit[i] * unit[j];
        }
        h[i * n + i] = unit[i] > 0;
        if (slope > 0) log_prior += log(slope);
    }
    roman_nnls(n, h, c, x);
    double fitted = 0, penalty = 0;
    for (int i = 0; i < n; i++) {
        double product = 0;
        for (int j = 0; j < n; j++) product = fma(h[i * n + j], x[j], product);
        double right = k->b[i][lane] * unit[i];
        fitted = fma(x[i], fma(2.0, right, -product), fitted);
        penalty = fma(x[i], right - c[i], penalty);
        found->amplitude[z * n + i] = x[i] * unit[i];
    }
    double chi2 = total - fitted;
    found->chi2[z] = chi2;
    found->log_evidence[z] = -0.5 * chi2 - penalty + log_prior + roman_orthant_log_volume(n, nc, h, c, x);
}

/* Shifts in cells of eight redshifts, the last repeated; whether each is one cell above its neighbour. */
static int AT_LEVEL(lane_shifts)(const roman_scan_templates *t, int64_t n_z, const double *log_1pz,
                                 double *log_z, double *shift, double *one_plus_z)
{
    int consecutive = 1;
    for (int l = 0; l < LANES; l++) {
        log_z[l] = log_1pz[l < n_z ? l : n_z - 1];
        shift[l] = log_z[l] / t->log_step;
        one_plus_z[l] = exp(log_z[l]);
        consecutive &= l < n_z && fabs(shift[l] - shift[0] - l) < 1e-6;
    }
    return consecutive;
}

/* Fills what depends on the spectrum only; returns the sum of (flux / sigma)^2. */
static double AT_LEVEL(load_spectrum)(scan_work *k, const double *flux, const double *weight, const double *lsf)
{
    const roman_scan_templates *t = k->t;
    double total = 0;
    for (int64_t p = 0; p < k->n; p++) {
        k->root[p] = sqrt(weight[p]);
        k->scaled[p] = k->root[p] * flux[p];
        total = fma(k->scaled[p], k->scaled[p], total);
        k->cell[p] = (t->log_end - log(k->wavelength[p])) / t->log_step;
        k->widest = fmax(k->widest, lsf[p]);
    }
    int64_t p = 0;
    for (int64_t g = 0; g < k->n_lsf; g++) {
        double at = exp(k->lsf_start + (double)g * t->log_step);
        while (p < k->n - 1 && k->wavelength[p + 1] < at) p++;
        int64_t next = p < k->n - 1 ? p + 1 : p;
        double width = k->wavelength[next] - k->wavelength[p];
        double part = width > 0 ? fmin(fmax((at - k->wavelength[p]) / width, 0), 1) : 0;
        k->lsf[g] = fma(part, lsf[next] - lsf[p], lsf[p]);
    }
    return total;
}

static int AT_LEVEL(redshift_scan)(const roman_scan_templates *t, int64_t n, const double *wavelength,
                                   const double *flux, const double *weight, const double *lsf,
                                   int64_t n_z, const double *log_1pz, const double *rate,
                                   scan_found *found)
{
    size_t work_bytes = (sizeof(scan_work) + 63) / 64 * 64;
    scan_work *k = aligned_alloc(64, work_bytes);
    size_t lines = (size_t)n * LANES * (size_t)(t->n_line_columns ? t->n_line_columns : 1);
    double start = log(wavelength[0]);
    int64_t n_lsf = (int64_t)((log(wavelength[n - 1]) - start) / t->log_step) + 3;
    double *memory = calloc(lines + 3 * (size_t)n + (size_t)n_lsf, sizeof *memory);
    uint32_t *present = calloc((size_t)n, sizeof *present);
    if (!k || !memory || !present) {
        free(k);
        free(memory);
        free(present);
        return ROMAN_ERR_MEMORY;
    }
    memset(k, 0, work_bytes);
    k->t = t;
    k->n = n;
    k->wavelength = wavelength;
    k->lines = memory;
    k->root = memory + lines;
    k->scaled = k->root + n;
    k->cell = k->scaled + n;
    k->lsf = k->cell + n;
    k->lsf_start = start;
    k->n_lsf = n_lsf;
    k->present = present;
    double total = AT_LEVEL(load_spectrum)(k, flux, weight, lsf), x[ROMAN_SCAN_COLUMNS] = {0};
    for (int64_t z = 0; z < n_z; z += LANES) {
        double log_z[LANES], shift[LANES], one_plus_z[LANES];
        int consecutive = AT_LEVEL(lane_shifts)(t, n_z - z, log_1pz + z, log_z, shift, one_plus_z);
        for (int j = 0; j < t->n_lines; j++) AT_LEVEL(draw_line)(k, j, log_z, one_plus_z, 1);
        AT_LEVEL(normal_matrices)(k, shift, consecutive);
        for (int j = 0; j < t->n_lines; j++) AT_LEVEL(draw_line)(k, j, log_z, one_plus_z, 0);
        for (int l = 0; l < LANES && z + l < n_z; l++) {
            AT_LEVEL(solve_lane)(k, l, total, rate, x, found, z + l);
        }
    }
    free(k);
    free(memory);
    free(present);
    return ROMAN_OK;
}
