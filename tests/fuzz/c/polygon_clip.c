#include "polygon_clip.h"

#include "input.h"
#include "roman_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    int64_t n = count(&in, 20), ny = rarely(&in, 20) ? whole(&in) : count(&in, 24), nx = rarely(&in, 20) ? whole(&in) : count(&in, 24);
    double *x = doubles(&in, 4 * n), *y = doubles(&in, 4 * n);
    int64_t *start = room(&in, n + 1, sizeof *start);
    if (roman_clip_sizes(n, x, y, ny, nx, start) == ROMAN_OK && start[n] < 100000) {
        int64_t total = start[n];
        int32_t *row = room(&in, total, sizeof *row), *column = room(&in, total, sizeof *column);
        double *area = room(&in, total, sizeof *area);
        must(roman_clip_areas(n, x, y, ny, nx, start, row, column, area) == ROMAN_OK, "areas of sizes");
        for (int64_t i = 0; i < total; i++) must(row[i] >= 0 && row[i] < ny && column[i] >= 0 && column[i] < nx, "inside");
    }
    return close_input(&in);
}
