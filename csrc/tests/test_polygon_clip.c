/* Clipping: a square's overlaps, rectangles far larger than the image, and what is refused. */
#include "check.h"
#include "polygon_clip.h"
#include "roman_status.h"

static void test_square(void)
{
    double x[4] = {0.25, 2.25, 2.25, 0.25}, y[4] = {1, 1, 2, 2}, area[6], sum = 0;
    int64_t start[2];
    int32_t row[6], column[6];
    CHECK(roman_clip_sizes(1, x, y, 8, 8, start) == ROMAN_OK);
    CHECK(start[1] == 6);
    CHECK(roman_clip_areas(1, x, y, 8, 8, start, row, column, area) == ROMAN_OK);
    for (int i = 0; i < 6; i++) sum += area[i];
    CHECK_CLOSE(sum, 2, 1e-12);
}

/* Above the image, and as wide as an image can be: there is nothing to clip, column by column. */
static void test_beside_a_wide_image(void)
{
    double x[4] = {0, 2e9, 2e9, 0}, y[4] = {-9, -9, -8, -8};
    int64_t start[2];
    CHECK(roman_clip_sizes(1, x, y, 8, INT32_MAX, start) == ROMAN_OK);
    CHECK(start[1] == 0);
    CHECK(roman_clip_areas(1, x, y, 8, INT32_MAX, start, NULL, NULL, NULL) == ROMAN_OK);
}

static void test_refused(void)
{
    double whole_x[12], whole_y[12], corner[4] = {-1, 3e9, 3e9, -1};
    int64_t start[4];
    for (int i = 0; i < 12; i++) {
        whole_x[i] = corner[i % 4];
        whole_y[i] = corner[(i + 1) % 4];
    }
    CHECK(roman_clip_sizes(3, whole_x, whole_y, INT32_MAX, INT32_MAX, start) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_clip_sizes(1, whole_x, whole_y, 0, 8, start) == ROMAN_ERR_ARGUMENT);
    whole_x[0] = NAN;
    CHECK(roman_clip_sizes(1, whole_x, whole_y, 8, 8, start) == ROMAN_ERR_ARGUMENT);
}

int main(void)
{
    test_square();
    test_beside_a_wide_image();
    test_refused();
    return check_summary("test_polygon_clip");
}
