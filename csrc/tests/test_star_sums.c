/* Sums over stamps: their meaning on rendered stars, the corners of the frame, and refused arguments. */
#include "roman_status.h"
#include "scene.h"
#include "star_sums.h"

static roman_psf psf;

static void test_flux_and_position(void)
{
    roman_frame frame = {32, 40, 40};
    double x = 17.3, y = 12.8, flux = 250, moved_x = 17.29, moved_y = 12.82;
    int32_t half = 7;
    float *image = scene_image(&frame, 0), *weight = scene_image(&frame, 2);
    CHECK(roman_render(&psf, &frame, 1, &x, &y, &half, &flux, image, 0) == ROMAN_OK);
    double sums[2], nine[9];
    CHECK(roman_matched_sums(&psf, &frame, 1, &x, &y, &half, image, weight, sums, 0) == ROMAN_OK);
    CHECK_CLOSE(sums[0] / sums[1], flux, 1e-3);
    CHECK(roman_position_sums(&psf, &frame, 1, &x, &y, &half, image, weight, nine, 0) == ROMAN_OK);
    CHECK_CLOSE(nine[0], sums[0], 1e-3);
    CHECK_CLOSE(nine[3], sums[1], 1e-6);
    /* From a position slightly off, the residual's gradient leads back. */
    flux = -flux;
    CHECK(roman_render(&psf, &frame, 1, &moved_x, &moved_y, &half, &flux, image, 0) == ROMAN_OK);
    flux = -flux;
    CHECK(roman_position_sums(&psf, &frame, 1, &moved_x, &moved_y, &half, image, weight, nine, 0) ==
          ROMAN_OK);
    double a = nine[6], b = nine[7], c = nine[8], det = a * c - b * b;
    CHECK_CLOSE((c * nine[1] - b * nine[2]) / det / flux, 0.01, 5e-4);
    CHECK_CLOSE((a * nine[2] - b * nine[1]) / det / flux, -0.02, 5e-4);
    free(image);
    free(weight);
}

/* Every pixel of the padded frame a stamp may touch, at every corner, and not one more. */
static void test_corners(void)
{
    roman_frame frame = {9, 13, 16};
    int32_t half = 15;
    float *image = scene_image(&frame, 1), *weight = scene_image(&frame, 1);
    double flux = 1, sums[2], nine[9];
    const double xs[] = {-1.0, -1.49, 5, 12.49, 12.0}, ys[] = {-1.0, -1.49, 4, 9.49, 9.0};
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 5; j++) {
            CHECK(roman_render(&psf, &frame, 1, xs + i, ys + j, &half, &flux, image, 0) == ROMAN_OK);
            CHECK(roman_matched_sums(&psf, &frame, 1, xs + i, ys + j, &half, image, weight, sums, 0) ==
                  ROMAN_OK);
            CHECK(roman_position_sums(&psf, &frame, 1, xs + i, ys + j, &half, image, weight, nine, 0) ==
                  ROMAN_OK);
        }
    }
    const double beyond[] = {-1.6, 13.5, 14.0, NAN, INFINITY, 1e30};
    double middle = 4;
    for (int i = 0; i < 6; i++) {
        CHECK(roman_render(&psf, &frame, 1, beyond + i, &middle, &half, &flux, image, 0) ==
              ROMAN_ERR_ARGUMENT);
        CHECK(roman_matched_sums(&psf, &frame, 1, &middle, beyond + i, &half, image, weight, sums, 0) ==
              ROMAN_ERR_ARGUMENT);
        CHECK(roman_position_sums(&psf, &frame, 1, beyond + i, beyond + i, &half, image, weight, nine,
                                  0) == ROMAN_ERR_ARGUMENT);
    }
    free(image);
    free(weight);
}

static void test_refused(void)
{
    roman_frame frame = {32, 40, 40};
    double x = 10, y = 10, flux = 1, sums[9];
    float *image = scene_image(&frame, 0);
    int32_t good = 3;
    CHECK(roman_render(&psf, &frame, -1, &x, &y, &good, &flux, image, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_render(&psf, &frame, 0, &x, &y, &good, &flux, image, 0) == ROMAN_OK);
    for (int32_t half = -2; half < 70; half++) {
        if (half >= 3 && half <= 47 && half % 4 == 3) continue; /* these fit */
        CHECK(roman_matched_sums(&psf, &frame, 1, &x, &y, &half, image, image, sums, 0) ==
              ROMAN_ERR_ARGUMENT);
    }
    const roman_frame bad[] = {{0, 40, 40}, {32, -1, 40}, {32, 40, -40}};
    for (int i = 0; i < 3; i++) {
        CHECK(roman_render(&psf, bad + i, 1, &x, &y, &good, &flux, image, 0) == ROMAN_ERR_ARGUMENT);
        CHECK(roman_position_sums(&psf, bad + i, 1, &x, &y, &good, image, image, sums, 0) ==
              ROMAN_ERR_ARGUMENT);
    }
    free(image);
}

static void test_zero_weight(void)
{
    roman_frame frame = {32, 40, 40};
    double x = 10, y = 10, sums[2];
    int32_t half = 3;
    float *image = scene_image(&frame, 5), *weight = scene_image(&frame, 0);
    CHECK(roman_matched_sums(&psf, &frame, 1, &x, &y, &half, image, weight, sums, 0) == ROMAN_OK);
    CHECK(sums[0] == 0 && sums[1] == 0);
    free(image);
    free(weight);
}

static void test_levels(void)
{
    enum { N = 60 };
    roman_frame frame = {48, 48, 40};
    double x[N], y[N], flux[N], base[9 * N], wide[9 * N];
    int32_t half[N];
    uint64_t state = 9;
    for (int s = 0; s < N; s++) {
        x[s] = 48 * check_uniform(&state);
        y[s] = 48 * check_uniform(&state);
        flux[s] = 1000 * check_uniform(&state);
        half[s] = 3 + 4 * (s % 5);
    }
    float *image = scene_image(&frame, 1), *other = scene_image(&frame, 1), *weight = scene_image(&frame, 3);
    CHECK(roman_render(&psf, &frame, N, x, y, half, flux, image, ROMAN_LEVEL_BASELINE) == ROMAN_OK);
    CHECK(roman_position_sums(&psf, &frame, N, x, y, half, image, weight, base, ROMAN_LEVEL_BASELINE) ==
          ROMAN_OK);
    for (int level = ROMAN_LEVEL_V3; level <= ROMAN_LEVEL_V4; level++) {
        float *fresh = scene_image(&frame, 1);
        CHECK(roman_render(&psf, &frame, N, x, y, half, flux, fresh, level) == ROMAN_OK);
        CHECK(memcmp(image, fresh, (size_t)scene_pixels(&frame) * sizeof *fresh) == 0);
        CHECK(roman_position_sums(&psf, &frame, N, x, y, half, image, weight, wide, level) == ROMAN_OK);
        CHECK(memcmp(base, wide, sizeof base) == 0);
        free(fresh);
    }
    free(image);
    free(other);
    free(weight);
}

int main(void)
{
    float *memory;
    psf = scene_psf(&memory);
    test_flux_and_position();
    test_corners();
    test_refused();
    test_zero_weight();
    test_levels();
    free(memory);
    return check_summary("test_star_sums");
}
