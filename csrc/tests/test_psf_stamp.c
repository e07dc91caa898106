/* Stamps: flux, symmetry, derivatives, the adjoint, bits at every level, and arguments that are refused. */
#include "psf_stamp.h"
#include "roman_status.h"
#include "scene.h"
#include "star_sums.h"

static roman_psf psf;

static int64_t floats_of(int half)
{
    return (int64_t)(2 * half + 1) * (2 * half + 2);
}

static float *one(double x, double y, int32_t half, int derivative, int level)
{
    int64_t offset = 0;
    float *stamp = check_alloc((size_t)floats_of(half) * sizeof *stamp);
    CHECK(roman_psf_stamps(&psf, 1, &x, &y, &half, &offset, derivative, stamp, level) == ROMAN_OK);
    return stamp;
}

static void test_values(void)
{
    const double places[] = {0.0, 0.3, -0.5, 0.49999, 17.25, -3.75};
    for (int i = 0; i < 6; i++) {
        for (int32_t half = 7; half <= 63; half += 8) {
            float *stamp = one(places[i], 2.1, half, 0, 0);
            double sum = 0;
            for (int row = 0; row < 2 * half + 1; row++) {
                CHECK(stamp[row * (2 * half + 2) + 2 * half + 1] == 0.0f);
                for (int col = 0; col < 2 * half + 1; col++) sum += stamp[row * (2 * half + 2) + col];
            }
            CHECK_CLOSE(sum, 1.0, 5e-3);
            free(stamp);
        }
    }
    float *left = one(0.3, 0, 3, 0, 0), *right = one(-0.3, 0, 3, 0, 0);
    for (int row = 0; row < 7; row++) {
        for (int col = 0; col < 7; col++) {
            CHECK_CLOSE(left[row * 8 + col], right[row * 8 + 6 - col], 1e-6);
        }
    }
    free(left);
    free(right);
}

static void test_derivatives(void)
{
    const double step = 1e-3;
    for (int axis = 1; axis <= 2; axis++) {
        double dx = axis == 1 ? step : 0, dy = axis == 2 ? step : 0;
        float *slope = one(0.12, -0.31, 7, axis, 0);
        float *high = one(0.12 + dx, -0.31 + dy, 7, 0, 0), *low = one(0.12 - dx, -0.31 - dy, 7, 0, 0);
        for (int64_t i = 0; i < floats_of(7); i++) {
            CHECK_CLOSE(slope[i], (high[i] - low[i]) / (2 * step), 2e-3);
        }
        free(slope);
        free(high);
        free(low);
    }
}

static void test_levels(void)
{
    uint64_t state = 1;
    for (int trial = 0; trial < 50; trial++) {
        double x = 40 * check_uniform(&state) - 20, y = 40 * check_uniform(&state) - 20;
        float *base = one(x, y, 11, trial % 3, ROMAN_LEVEL_BASELINE);
        for (int level = ROMAN_LEVEL_V3; level <= ROMAN_LEVEL_V4; level++) {
            float *wide = one(x, y, 11, trial % 3, level);
            CHECK(memcmp(base, wide, (size_t)floats_of(11) * sizeof *wide) == 0);
            free(wide);
        }
        free(base);
    }
}

/* <render(coef), image> = <coef, splat(image)> */
static void test_adjoint(void)
{
    roman_frame frame = {20, 24, 10};
    int64_t pixels = scene_pixels(&frame), coefs = 16 * (int64_t)psf.plane_ny * psf.plane_nx;
    double x[3] = {3.2, 15.7, 23.4}, y[3] = {0.4, 10.0, 19.2}, flux[3] = {5, 1, 20};
    int32_t half[3] = {7, 3, 7};
    float *image = scene_image(&frame, 0), *model = scene_image(&frame, 0);
    double *gradient = check_alloc((size_t)coefs * sizeof *gradient);
    uint64_t state = 3;
    for (int64_t p = 0; p < pixels; p++) image[p] = (float)(check_uniform(&state) - 0.5);
    CHECK(roman_render(&psf, &frame, 3, x, y, half, flux, model, 0) == ROMAN_OK);
    CHECK(roman_psf_splat(&psf, &frame, 3, x, y, half, flux, image, gradient) == ROMAN_OK);
    double forward = 0, backward = 0;
    for (int64_t p = 0; p < pixels; p++) forward += (double)model[p] * image[p];
    for (int64_t k = 0; k < coefs; k++) backward += gradient[k] * psf.coef[k];
    CHECK_CLOSE(forward, backward, 1e-5);
    free(image);
    free(model);
    free(gradient);
}

static void test_refused(void)
{
    roman_frame frame = {20, 24, 10};
    double x = 0, y = 0, scale = 1;
    int32_t half = 3;
    int64_t offset = 0;
    float *stamp = check_alloc((size_t)floats_of(63) * sizeof *stamp);
    float *image = scene_image(&frame, 1);
    double *gradient = check_alloc(16 * (size_t)psf.plane_ny * psf.plane_nx * sizeof *gradient);
    CHECK(roman_psf_stamps(&psf, 0, &x, &y, &half, &offset, 0, stamp, 0) == ROMAN_OK);
    CHECK(roman_psf_stamps(&psf, -1, &x, &y, &half, &offset, 0, stamp, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_psf_stamps(&psf, 1, &x, &y, &half, &offset, 3, stamp, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_psf_stamps(&psf, 1, &x, &y, &half, &offset, -1, stamp, 0) == ROMAN_ERR_ARGUMENT);
    const int32_t bad_halves[] = {-1, 0, 2, 4, 5, 6, 8, 67, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 10; i++) {
        int32_t bad = bad_halves[i];
        CHECK(roman_psf_stamps(&psf, 1, &x, &y, &bad, &offset, 0, stamp, 0) == ROMAN_ERR_ARGUMENT);
        CHECK(roman_psf_splat(&psf, &frame, 1, &x, &y, &bad, &scale, image, gradient) ==
              ROMAN_ERR_ARGUMENT);
    }
    const double bad_places[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        CHECK(roman_psf_stamps(&psf, 1, bad_places + i, &y, &half, &offset, 0, stamp, 0) ==
              ROMAN_ERR_ARGUMENT);
        CHECK(roman_psf_stamps(&psf, 1, &x, bad_places + i, &half, &offset, 0, stamp, 0) ==
              ROMAN_ERR_ARGUMENT);
    }
    const double outside[] = {NAN, INFINITY, -7.6, 33.0, 1e9, -1e300};
    for (int i = 0; i < 6; i++) {
        CHECK(roman_psf_splat(&psf, &frame, 1, outside + i, &y, &half, &scale, image, gradient) ==
              ROMAN_ERR_ARGUMENT);
        CHECK(roman_psf_splat(&psf, &frame, 1, &x, outside + i, &half, &scale, image, gradient) ==
              ROMAN_ERR_ARGUMENT);
    }
    CHECK(roman_psf_splat(&psf, &frame, -1, &x, &y, &half, &scale, image, gradient) ==
          ROMAN_ERR_ARGUMENT);
    const roman_frame bad_frames[] = {{0, 24, 10}, {20, 0, 10}, {-20, 24, 10}, {20, 24, -1}};
    for (int i = 0; i < 4; i++) {
        CHECK(roman_psf_splat(&psf, bad_frames + i, 1, &x, &y, &half, &scale, image, gradient) ==
              ROMAN_ERR_ARGUMENT);
    }
    roman_psf far_off = psf;
    far_off.oversample = 1;
    far_off.origin = INT32_MIN;
    CHECK(roman_psf_stamps(&far_off, 1, &x, &y, &half, &offset, 0, stamp, 0) == ROMAN_ERR_ARGUMENT);
    free(stamp);
    free(image);
    free(gradient);
}

int main(void)
{
    float *memory;
    psf = scene_psf(&memory);
    test_values();
    test_derivatives();
    test_levels();
    test_adjoint();
    test_refused();
    free(memory);
    return check_summary("test_psf_stamp");
}
