/* Redshift scan: the truth found, NNLS against its optimality conditions, levels bit by bit, refused arguments. */
#include "check.h"
#include "nnls.h"
#include "redshift.h"
#include "roman_status.h"

enum { N = 300, CELLS = 2200, CONTINUA = 5, LINES = 4, COLUMNS = CONTINUA + 3, NZ = 101 };

static double table[CONTINUA * CELLS], wavelength[N], flux[N], weight[N], lsf[N];
static const double line_wave[LINES] = {656.461, 500.824, 496.03, 372.9}, line_flux[LINES] = {1, 1, 0.336, 1};
static const double line_width[LINES] = {4e-4, 4e-4, 4e-4, 4e-4}, rate[3] = {0.1, 0.1, 0.1};
static const int32_t line_column[LINES] = {0, 1, 1, 2};
static roman_scan_templates templates = {CONTINUA, 3, LINES, CELLS, 0, 1e-3, table, line_wave, line_flux, line_width, line_column};

static void fill(double z)
{
    uint64_t state = 5;
    templates.log_end = log(2100);
    for (int i = 0; i < CONTINUA; i++) {
        for (int g = 0; g < CELLS; g++) {
            double lambda = exp(templates.log_end - g * templates.log_step);
            table[i * CELLS + g] = pow(lambda / 700, i - 2) * (i % 2 && lambda < 400 ? 0.5 : 1);
        }
    }
    for (int p = 0; p < N; p++) {
        wavelength[p] = 1000 + 3.1 * p;
        lsf[p] = 2.5 + 1e-3 * p;
        weight[p] = p % 17 ? 25 : 0;
        flux[p] = 2 + 0.2 * (check_uniform(&state) + check_uniform(&state) + check_uniform(&state) - 1.5) * 2;
        for (int k = 0; k < LINES; k++) {
            double centre = line_wave[k] * (1 + z), sigma = hypot(lsf[p], centre * line_width[k]);
            flux[p] += 20 * line_flux[k] * exp(-0.5 * pow((wavelength[p] - centre) / sigma, 2)) / sigma / 2.5066;
        }
    }
}

static void test_finds_truth(void)
{
    double log_z[NZ], chi2[NZ], evidence[NZ], amplitude[NZ * COLUMNS];
    fill(1.5);
    for (int k = 0; k < NZ; k++) log_z[k] = log(2.5) + 1e-3 * (k - 50);
    CHECK(roman_redshift_scan(&templates, N, wavelength, flux, weight, lsf, NZ, log_z, rate, chi2, evidence, amplitude,
                              0) == ROMAN_OK);
    int best = 0, likely = 0;
    for (int k = 0; k < NZ; k++) {
        if (chi2[k] < chi2[best]) best = k;
        if (evidence[k] > evidence[likely]) likely = k;
        CHECK(isfinite(evidence[k]));
        for (int c = 0; c < COLUMNS; c++) CHECK(amplitude[k * COLUMNS + c] >= 0);
    }
    CHECK(best == 50 && likely == 50);
    CHECK_CLOSE(amplitude[50 * COLUMNS + CONTINUA], 20, 2);
    CHECK_CLOSE(amplitude[50 * COLUMNS + CONTINUA + 1], 20, 2);
    CHECK(chi2[50] < 1.5 * N && chi2[0] > chi2[50] + 100);
    CHECK(amplitude[50 * COLUMNS + CONTINUA + 2] == 0); /* [O II] is not in the band */
}

/* No redshifts, and cells so narrow that their number fits into no integer: found by fuzzing. */
static void test_no_redshifts(void)
{
    fill(1.5);
    roman_scan_templates narrow = templates;
    narrow.log_step = 1e-30;
    CHECK(roman_redshift_scan(&narrow, N, wavelength, flux, weight, lsf, 0, NULL, rate, NULL, NULL, NULL, 0) == ROMAN_OK);
}

/* The same redshifts as consecutive cells and in another order, and at every level. */
static void test_levels_and_order(void)
{
    double log_z[NZ], swapped[NZ];
    double chi2[3][NZ], evidence[3][NZ], amplitude[3][NZ * COLUMNS];
    fill(1.1);
    for (int k = 0; k < NZ; k++) log_z[k] = log(1.6) + 1e-3 * k;
    for (int k = 0; k < NZ; k++) swapped[k] = log_z[k % 2 && k + 1 < NZ ? k + 1 : k];
    for (int level = ROMAN_LEVEL_BASELINE; level <= ROMAN_LEVEL_V4; level++) {
        int m = level - ROMAN_LEVEL_BASELINE;
        CHECK(roman_redshift_scan(&templates, N, wavelength, flux, weight, lsf, NZ, log_z, rate, chi2[m], evidence[m],
                                  amplitude[m], level) == ROMAN_OK);
        CHECK(memcmp(chi2[0], chi2[m], sizeof chi2[0]) == 0);
        CHECK(memcmp(evidence[0], evidence[m], sizeof evidence[0]) == 0);
        CHECK(memcmp(amplitude[0], amplitude[m], sizeof amplitude[0]) == 0);
    }
    CHECK(roman_redshift_scan(&templates, N, wavelength, flux, weight, lsf, NZ, swapped, rate, chi2[1], evidence[1],
                              amplitude[1], 0) == ROMAN_OK);
    for (int k = 0; k < NZ; k++) CHECK_CLOSE(chi2[1][k], chi2[0][k % 2 && k + 1 < NZ ? k + 1 : k], 1e-5);
}

static void test_refused(void)
{
    double z = 0.7, out[COLUMNS], chi2, evidence, save;
    fill(1);
#define SCAN() roman_redshift_scan(&templates, N, wavelength, flux, weight, lsf, 1, &z, rate, &chi2, &evidence, out, 0)
#define REFUSES(place, value)                                                                      \
    do {                                                                                           \
        save = (place);                                                                            \
        (place) = (value);                                                                         \
        CHECK(SCAN() == ROMAN_ERR_ARGUMENT);                                                       \
        (place) = save;                                                                            \
    } while (0)
    CHECK(SCAN() == ROMAN_OK);
    REFUSES(z, 2.0); /* beyond the table */
    REFUSES(z, -0.2);
    REFUSES(z, NAN);
    REFUSES(flux[3], NAN);
    REFUSES(weight[3], -1);
    REFUSES(weight[3], INFINITY);
    REFUSES(lsf[3], 0);
    REFUSES(wavelength[3], wavelength[2]);
    REFUSES(table[7], NAN);
    REFUSES(templates.log_step, 0);
    REFUSES(templates.n_continua, ROMAN_SCAN_CONTINUA + 1);
    REFUSES(templates.n_line_columns, 40);
    REFUSES(templates.n_line_columns, 2); /* a line names a third */
    REFUSES(templates.n_cells, 1);
    CHECK(SCAN() == ROMAN_OK);
}

/* No data at all: every amplitude 0, and the evidence does not prefer a redshift. */
static void test_no_weight(void)
{
    double z[2] = {0.7, 0.9}, out[2 * COLUMNS], chi2[2], evidence[2];
    fill(1);
    for (int p = 0; p < N; p++) weight[p] = 0;
    CHECK(roman_redshift_scan(&templates, N, wavelength, flux, weight, lsf, 2, z, rate, chi2, evidence, out, 0) == ROMAN_OK);
    CHECK(chi2[0] == 0 && evidence[0] == evidence[1]);
    for (int c = 0; c < 2 * COLUMNS; c++) CHECK(out[c] == 0);
}

static void test_nnls(void)
{
    uint64_t state = 3;
    for (int trial = 0; trial < 300; trial++) {
        int n = 1 + trial % ROMAN_NNLS_MAX;
        double a[30][ROMAN_NNLS_MAX], h[ROMAN_NNLS_MAX * ROMAN_NNLS_MAX] = {0}, c[ROMAN_NNLS_MAX] = {0};
        double x[ROMAN_NNLS_MAX] = {0}, norm[ROMAN_NNLS_MAX] = {0};
        for (int j = 0; j < n; j++) {
            for (int r = 0; r < 30; r++) {
                a[r][j] = check_uniform(&state) - 0.4;
                norm[j] += a[r][j] * a[r][j];
            }
        }
        for (int r = 0; r < 30; r++) {
            double y = check_uniform(&state) - 0.3;
            for (int j = 0; j < n; j++) {
                c[j] += a[r][j] * y / sqrt(norm[j]);
                for (int m = 0; m < n; m++) h[j * n + m] += a[r][j] * a[r][m] / sqrt(norm[j] * norm[m]);
            }
        }
        CHECK(roman_nnls(n, h, c, x) == ROMAN_OK);
        for (int j = 0; j < n; j++) {
            double dual = c[j];
            for (int m = 0; m < n; m++) dual -= h[j * n + m] * x[m];
            CHECK(x[j] >= 0 && dual < 1e-7);
            if (x[j] > 0) CHECK_CLOSE(dual, 0, 1e-7);
        }
    }
    double one = 1, x = 0;
    CHECK(roman_nnls(0, &one, &one, &x) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_nnls(ROMAN_NNLS_MAX + 1, &one, &one, &x) == ROMAN_ERR_ARGUMENT);
}

/* One column: the integral in closed form; two independent ones: the product. */
static void test_volume(void)
{
    double h = 1, c = 0.7, x = 0.7, half = sqrt(acos(-1.0) / 2);
    CHECK_CLOSE(exp(roman_orthant_log_volume(1, 0, &h, &c, &x)), half * (1 + erf(0.7 / sqrt(2))), 1e-9);
    c = -2;
    x = 0;
    double tail = half * exp(2) * erfc(sqrt(2));
    CHECK_CLOSE(exp(roman_orthant_log_volume(1, 0, &h, &c, &x)), tail, 1e-9);
    double h2[4] = {1, 0, 0, 1}, c2[2] = {0.7, -2}, x2[2] = {0.7, 0};
    CHECK_CLOSE(exp(roman_orthant_log_volume(2, 0, h2, c2, x2)), half * (1 + erf(0.7 / sqrt(2))) * tail, 1e-9);
    CHECK_CLOSE(exp(roman_orthant_log_volume(2, 1, h2, c2, x2)), tail, 1e-9);
    /* Twins, of which the second costs 0.5 more: exp(-0.5 y) over y = 0 .. 2, times the bell of their sum. */
    double twins[4] = {1, 1, 1, 1}, cost[2] = {2, 1.5}, both[2] = {2, 0};
    CHECK_CLOSE(exp(roman_orthant_log_volume(2, 0, twins, cost, both)),
                half * (1 + erf(2 / sqrt(2))) * (1 - exp(-1)) / 0.5, 1e-4);
    c = -50; /* far out: 1 / t, less its cube */
    CHECK_CLOSE(exp(roman_orthant_log_volume(1, 0, &h, &c, &x2[1])), 0.02 - 0.02 * 0.02 * 0.02, 1e-7);
}

int main(void)
{
    test_finds_truth();
    test_no_redshifts();
    test_levels_and_order();
    test_refused();
    test_no_weight();
    test_nnls();
    test_volume();
    return check_summary("test_redshift");
}
