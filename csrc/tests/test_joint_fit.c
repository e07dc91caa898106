/* The joint fit: exact on noiseless scenes, every number of sky terms, masks, and refused arguments. */
#include "joint_fit.h"
#include "roman_status.h"
#include "scene.h"
#include "star_sums.h"

enum { N = 40, FRAMES = 2, PAD = 40, NY = 40, NX = 44 };

static roman_psf psf;
static const roman_frame frame = {NY, NX, PAD};

typedef struct {
    double x[FRAMES * N], y[FRAMES * N], truth[N], flux[N], flux_err[N], *sky;
    int32_t half[N];
    float chi2[N], *data, *weight, *basis, *residual;
    roman_joint_options options;
} problem;

static problem make(int n_sky)
{
    problem p;
    memset(&p, 0, sizeof p);
    int64_t plane = scene_pixels(&frame), stride = NX + 2 * PAD;
    uint64_t state = 11;
    for (int s = 0; s < N; s++) {
        double x = NX * check_uniform(&state), y = NY * check_uniform(&state);
        for (int e = 0; e < FRAMES; e++) {
            p.x[e * N + s] = x + 0.37 * e;
            p.y[e * N + s] = y - 0.21 * e;
        }
        p.truth[s] = 20 + 500 * check_uniform(&state);
        p.half[s] = 3 + 4 * (s % 3);
    }
    p.data = check_alloc((size_t)(FRAMES * plane) * sizeof *p.data);
    p.weight = check_alloc((size_t)(FRAMES * plane) * sizeof *p.weight);
    p.residual = check_alloc((size_t)(FRAMES * plane) * sizeof *p.residual);
    p.basis = check_alloc((size_t)(n_sky * plane) * sizeof *p.basis);
    p.sky = check_alloc((size_t)(FRAMES * n_sky) * sizeof *p.sky);
    for (int y = 0; y < NY; y++) {
        for (int x = 0; x < NX; x++) {
            int64_t at = (y + PAD) * stride + x + PAD;
            double u = 2.0 * x / (NX - 1) - 1, v = 2.0 * y / (NY - 1) - 1;
            const double term[8] = {1, u, v, u * u, u * v, v * v, u * u * u, v * v * v};
            for (int t = 0; t < n_sky; t++) p.basis[t * plane + at] = (float)term[t];
            for (int e = 0; e < FRAMES; e++) {
                p.weight[e * plane + at] = 4;
                p.data[e * plane + at] = n_sky ? 3 : 0;
            }
        }
    }
    for (int e = 0; e < FRAMES; e++) {
        CHECK(roman_render(&psf, &frame, N, p.x + e * N, p.y + e * N, p.half, p.truth,
                           p.data + e * plane, 0) == ROMAN_OK);
    }
    p.options = (roman_joint_options){.tolerance = 1e-5, .max_iterations = 2000, .n_sky = n_sky, .core_half = 2};
    return p;
}

static void release(problem *p)
{
    free(p->data);
    free(p->weight);
    free(p->residual);
    free(p->basis);
    free(p->sky);
}

static int fit(problem *p, int frames, int level)
{
    return roman_joint_fit(&psf, &frame, frames, N, p->x, p->y, p->half, p->data, p->weight, p->basis,
                           p->flux, p->flux_err, p->chi2, p->sky, p->residual, &p->options, level);
}

static void test_recovers_truth(void)
{
    for (int n_sky = 0; n_sky <= ROMAN_MAX_SKY_TERMS; n_sky++) {
        problem p = make(n_sky);
        CHECK(fit(&p, FRAMES, 0) == ROMAN_OK);
        CHECK(p.options.iterations > 0 && p.options.worst_gradient <= 1e-5);
        for (int s = 0; s < N; s++) {
            CHECK_CLOSE(p.flux[s], p.truth[s], 2e-2);
            CHECK(p.flux_err[s] > 0 && p.flux_err[s] < 10);
            CHECK(p.chi2[s] >= 0 && p.chi2[s] < 1e-4f);
        }
        if (n_sky) CHECK_CLOSE(p.sky[0], 3, 1e-2);
        release(&p);
    }
}

static void test_levels(void)
{
    problem base = make(3);
    CHECK(fit(&base, FRAMES, ROMAN_LEVEL_BASELINE) == ROMAN_OK);
    for (int level = ROMAN_LEVEL_V3; level <= ROMAN_LEVEL_V4; level++) {
        problem wide = make(3);
        CHECK(fit(&wide, FRAMES, level) == ROMAN_OK);
        CHECK(memcmp(base.flux, wide.flux, sizeof base.flux) == 0);
        CHECK(memcmp(base.flux_err, wide.flux_err, sizeof base.flux_err) == 0);
        CHECK(memcmp(base.chi2, wide.chi2, sizeof base.chi2) == 0);
        CHECK(memcmp(base.sky, wide.sky, FRAMES * 3 * sizeof *base.sky) == 0);
        CHECK(memcmp(base.residual, wide.residual,
                     FRAMES * (size_t)scene_pixels(&frame) * sizeof *base.residual) == 0);
        release(&wide);
    }
    release(&base);
}

static void test_no_weight(void)
{
    problem p = make(0);
    memset(p.weight, 0, FRAMES * (size_t)scene_pixels(&frame) * sizeof *p.weight);
    CHECK(fit(&p, FRAMES, 0) == ROMAN_OK);
    for (int s = 0; s < N; s++) CHECK(p.flux[s] == 0 && isinf(p.flux_err[s]) && isnan(p.chi2[s]));
    release(&p);
    for (int n_sky = 1; n_sky <= ROMAN_MAX_SKY_TERMS; n_sky++) {
        p = make(n_sky);
        memset(p.weight, 0, FRAMES * (size_t)scene_pixels(&frame) * sizeof *p.weight);
        CHECK(fit(&p, FRAMES, 0) == ROMAN_ERR_SINGULAR);
        release(&p);
    }
}

static void test_stars_off_the_image(void)
{
    problem p = make(3);
    p.x[0] = p.x[N] = -30;
    p.y[1] = p.y[N + 1] = NY + 20;
    CHECK(fit(&p, FRAMES, 0) == ROMAN_OK);
    CHECK(p.flux[0] == 0 && isinf(p.flux_err[0]));
    CHECK(p.flux[1] == 0 && isinf(p.flux_err[1]));
    for (int s = 2; s < N; s++) CHECK(isfinite(p.flux[s]));
    release(&p);
}

/* Everything on one pixel: no growth of the work space may be forgotten, no step may fail. */
static void test_all_stars_in_one_place(void)
{
    problem p = make(1);
    for (int s = 0; s < FRAMES * N; s++) p.x[s] = p.y[s] = 20.25;
    p.options.max_iterations = 50;
    int status = fit(&p, FRAMES, 0);
    CHECK(status == ROMAN_OK || status == ROMAN_ERR_CONVERGENCE);
    for (int s = 0; s < N; s++) CHECK(isfinite(p.flux[s]) && isfinite(p.flux_err[s]));
    release(&p);
}

static void test_iteration_limit(void)
{
    problem p = make(1);
    p.options.max_iterations = 1;
    CHECK(fit(&p, 1, 0) == ROMAN_ERR_CONVERGENCE);
    CHECK(p.options.iterations == 1);
    for (int s = 0; s < N; s++) CHECK(isfinite(p.flux[s]));
    release(&p);
}

static void test_refused(void)
{
    problem p = make(1);
    const roman_joint_options good = p.options;
    const int32_t bad_sky[] = {-1, 9, 1000};
    for (int i = 0; i < 3; i++) {
        p.options.n_sky = bad_sky[i];
        CHECK(fit(&p, 1, 0) == ROMAN_ERR_ARGUMENT);
    }
    const int32_t bad_core[] = {-1, 4};
    for (int i = 0; i < 2; i++) {
        p.options = good;
        p.options.core_half = bad_core[i];
        CHECK(fit(&p, 1, 0) == ROMAN_ERR_ARGUMENT);
    }
    const double bad_tolerance[] = {0, -1, NAN};
    for (int i = 0; i < 3; i++) {
        p.options = good;
        p.options.tolerance = bad_tolerance[i];
        CHECK(fit(&p, 1, 0) == ROMAN_ERR_ARGUMENT);
    }
    p.options = good;
    CHECK(fit(&p, 0, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(fit(&p, -3, 0) == ROMAN_ERR_ARGUMENT);
    const int32_t bad_half[] = {-1, 0, 4, 5, 6, 10, 67};
    for (int i = 0; i < 7; i++) {
        p.half[N - 1] = bad_half[i];
        CHECK(fit(&p, FRAMES, 0) == ROMAN_ERR_ARGUMENT);
    }
    p.half[N - 1] = 3;
    const double bad_place[] = {NAN, INFINITY, -37.6, NX + 37.0, 1e12};
    for (int i = 0; i < 5; i++) {
        p.x[2 * N - 1] = bad_place[i];
        CHECK(fit(&p, FRAMES, 0) == ROMAN_ERR_ARGUMENT);
        p.x[2 * N - 1] = 5;
        p.y[N - 1] = bad_place[i];
        CHECK(fit(&p, FRAMES, 0) == ROMAN_ERR_ARGUMENT);
        p.y[N - 1] = 5;
    }
    const int64_t bad_n[] = {0, -1, (int64_t)INT32_MAX + 1};
    const roman_frame bad_frames[] = {{0, NX, PAD}, {NY, 0, PAD}, {NY, NX, 7}, {NY, NX, -1}};
    for (int i = 0; i < 3; i++) {
        CHECK(roman_joint_fit(&psf, &frame, 1, bad_n[i], p.x, p.y, p.half, p.data, p.weight, p.basis,
                              p.flux, p.flux_err, p.chi2, p.sky, p.residual, &p.options, 0) ==
              ROMAN_ERR_ARGUMENT);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(roman_joint_fit(&psf, bad_frames + i, 1, N, p.x, p.y, p.half, p.data, p.weight, p.basis,
                              p.flux, p.flux_err, p.chi2, p.sky, p.residual, &p.options, 0) ==
              ROMAN_ERR_ARGUMENT);
    }
    release(&p);
}

int main(void)
{
    float *memory;
    psf = scene_psf(&memory);
    test_recovers_truth();
    test_levels();
    test_no_weight();
    test_stars_off_the_image();
    test_all_stars_in_one_place();
    test_iteration_limit();
    test_refused();
    free(memory);
    return check_summary("test_joint_fit");
}
