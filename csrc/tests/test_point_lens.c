/* Point-lens fit: exact recovery, several bands, no blend, binned starts, degenerate input, equal bits. */
#include "check.h"
#include "point_lens.h"
#include "roman_status.h"

enum { BANDS = 2, SIZE = 3 + 2 * BANDS };
static const double STARTS[4] = {0.03, 0.1, 0.3, 1.0};

static roman_lens_options options_of(int free_blend, int64_t coarse_above)
{
    roman_lens_options o = {free_blend, 4, STARTS, 1e-6, 60, coarse_above, 1e-3, 1e4, 5};
    return o;
}

typedef struct {
    double theta[3], fs[BANDS], fb[BANDS], chi2, flat, covariance[SIZE * SIZE];
    int32_t flags, iterations;
} fitted;

static int fit(const roman_lens_options *o, const int64_t *start, const double *t, const double *f,
               const double *w, double seed_t0, double seed_teff, fitted *r, int level)
{
    int64_t seeds[2] = {0, 1};
    return roman_point_lens_fit(o, 1, BANDS, start, t, f, w, seeds, &seed_t0, &seed_teff, r->theta,
                                r->fs, r->fb, &r->chi2, &r->flat, r->covariance, &r->flags,
                                &r->iterations, level);
}

/* Two bands of 900 and 61 points of a lens at t0 = 12.3, u0 = 0.2, tE = 5. */
static void make(double *t, double *f, double *w, int64_t *start, double blend)
{
    start[0] = 0;
    start[1] = 900;
    start[2] = 961;
    for (int i = 0; i < 961; i++) {
        double fs = i < 900 ? 40 : 15, fb = blend * (i < 900 ? 7 : 20);
        t[i] = i < 900 ? 0.03 * i : 0.45 * (i - 900);
        double tau = (t[i] - 12.3) / 5, u2 = 0.04 + tau * tau;
        f[i] = fs * (u2 + 2) / sqrt(u2 * (u2 + 4)) + fb;
        w[i] = i < 900 ? 4 : 1;
    }
}

static void test_recovery(void)
{
    double t[961], f[961], w[961];
    int64_t start[3];
    fitted a, b;
    make(t, f, w, start, 1);
    for (int coarse = 0; coarse < 2; coarse++) {
        roman_lens_options o = options_of(1, coarse ? 100 : 5000);
        CHECK(fit(&o, start, t, f, w, 12.0, 0.8, &a, 0) == ROMAN_OK);
        CHECK(a.flags == ROMAN_FIT_CONVERGED);
        CHECK_CLOSE(a.theta[0], 12.3, 1e-5);
        CHECK_CLOSE(a.theta[1], 0.2, 1e-4);
        CHECK_CLOSE(a.theta[2], 5, 2e-3);
        CHECK_CLOSE(a.fs[0], 40, 0.03);
        CHECK_CLOSE(a.fb[1], 20, 0.02);
        CHECK(a.chi2 < 1e-4 && a.flat > 1e5);
        for (int i = 0; i < SIZE; i++) CHECK(a.covariance[i * SIZE + i] > 0);
        for (int level = 1; level <= 3; level++) {
            CHECK(fit(&o, start, t, f, w, 12.0, 0.8, &b, level) == ROMAN_OK);
            CHECK(!memcmp(&a, &b, sizeof a));
        }
    }
    make(t, f, w, start, 0);
    roman_lens_options zero = options_of(0, 5000);
    CHECK(fit(&zero, start, t, f, w, 12.5, 1.2, &a, 0) == ROMAN_OK);
    CHECK_CLOSE(a.theta[1], 0.2, 1e-5);
    CHECK(a.fb[0] == 0 && a.covariance[5 * SIZE + 5] == 0 && a.chi2 < 1e-4);
}

/* The covariance is the inverse of the normal matrix by finite differences of the model. */
static void test_covariance(void)
{
    double t[961], f[961], w[961], J[961][SIZE], product[SIZE][SIZE];
    int64_t start[3];
    fitted a;
    make(t, f, w, start, 1);
    roman_lens_options o = options_of(1, 5000);
    CHECK(fit(&o, start, t, f, w, 12.0, 0.8, &a, 0) == ROMAN_OK);
    for (int i = 0; i < 961; i++) {
        int band = i >= 900;
        for (int p = 0; p < SIZE; p++) J[i][p] = 0;
        for (int p = 0; p < 3; p++) {
            double v[2], h = 1e-5;
            for (int s = 0; s < 2; s++) {
                double q[3] = {12.3, 0.2, 5};
                q[p] += s ? h : -h;
                double tau = (t[i] - q[0]) / q[2], u2 = q[1] * q[1] + tau * tau;
                v[s] = (band ? 15 : 40) * (u2 + 2) / sqrt(u2 * (u2 + 4));
            }
            J[i][p] = (v[1] - v[0]) / (2 * h);
        }
        double tau = (t[i] - 12.3) / 5, u2 = 0.04 + tau * tau;
        J[i][3 + band] = (u2 + 2) / sqrt(u2 * (u2 + 4));
        J[i][5 + band] = 1;
    }
    for (int p = 0; p < SIZE; p++) {
        for (int q = 0; q < SIZE; q++) {
            product[p][q] = 0;
            for (int k = 0; k < SIZE; k++) {
                double n = 0;
                for (int i = 0; i < 961; i++) n += w[i] * J[i][p] * J[i][k];
                product[p][q] += n * a.covariance[k * SIZE + q];
            }
            double scale = sqrt(a.covariance[q * SIZE + q] / a.covariance[p * SIZE + p]);
            CHECK_CLOSE(product[p][q] / scale, p == q, 0.05);
        }
    }
}

static void test_degenerate_and_refused(void)
{
    double t[961], f[961], w[961];
    int64_t start[3], none[3] = {0, 0, 0}, empty_band[3] = {0, 900, 900}, bad[3] = {0, 5, 3};
    fitted a;
    make(t, f, w, start, 1);
    roman_lens_options o = options_of(1, 5000);
    CHECK(fit(&o, none, t, f, w, 12, 1, &a, 0) == ROMAN_OK);
    CHECK(isnan(a.theta[0]) && a.flags == 0);
    CHECK(fit(&o, empty_band, t, f, w, 12, 1, &a, 0) == ROMAN_OK);
    CHECK_CLOSE(a.theta[1], 0.2, 1e-4);
    CHECK(a.covariance[4 * SIZE + 4] == 0);
    CHECK(fit(&o, start, t, f, w, NAN, 1, &a, 0) == ROMAN_OK);
    CHECK(isnan(a.theta[0]));
    for (int i = 0; i < 961; i++) f[i] = 5; /* a constant: no crash, nothing constrained */
    CHECK(fit(&o, start, t, f, w, 12, 1, &a, 0) == ROMAN_OK);
    CHECK(a.chi2 < 1e-12 || isnan(a.chi2));
    CHECK(fit(&o, bad, t, f, w, 12, 1, &a, 0) == ROMAN_ERR_ARGUMENT);
    o.tolerance = 0;
    CHECK(fit(&o, start, t, f, w, 12, 1, &a, 0) == ROMAN_ERR_ARGUMENT);
    double excess, time = 3;
    CHECK(roman_point_lens_excess(1, &time, 3, 0.1, 1, &excess, 0) == ROMAN_OK);
    CHECK_CLOSE(excess, 9.0374610057, 1e-9);
    CHECK(roman_point_lens_excess(1, &time, 3, 0.1, 0, &excess, 0) == ROMAN_ERR_ARGUMENT);
}

/* Times that are no numbers are the wrapper's to refuse; here they must end. */
static void test_times_that_are_no_numbers(void)
{
    double t[8] = {0, 1, 2, 3, NAN, -INFINITY, INFINITY, 4}, f[8] = {1, 2, 4, 2}, w[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    int64_t start[BANDS + 1] = {0, 8, 8};
    roman_lens_options o = options_of(1, 0);
    fitted r;
    CHECK(fit(&o, start, t, f, w, 1, 2, &r, 1) == ROMAN_OK);
}

int main(void)
{
    test_recovery();
    test_covariance();
    test_degenerate_and_refused();
    test_times_that_are_no_numbers();
    return check_summary("point_lens");
}
