#include "event_search.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    roman_search_grid grid = {near(&in, 0.1), near(&in, 3), near(&in, 1.5), near(&in, 3), near(&in, 4), near(&in, 3)};
    /* Fine grids are right but slow, and nothing else happens in them: mostly coarse ones, on few stars. */
    if (!rarely(&in, 64)) {
        grid.teff_min = fmax(grid.teff_min, 0.02);
        grid.teff_max = fmin(grid.teff_max, 1e3);
        grid.teff_ratio = fmax(grid.teff_ratio, 1.2);
        grid.steps_per_teff = fmin(grid.steps_per_teff, 4);
    }
    int64_t epochs = count(&in, 30), stars = count(&in, 20), points = epochs * stars;
    double *mjd = rising(&in, epochs, rarely(&in, 3) ? real(&in) : 60000, 0.3);
    float *flux = floats(&in, points), *error = floats(&in, points);
    double *v[2];
    int32_t *w[2];
    for (int level = 0; level < 2; level++) {
        double *d = v[level] = room(&in, 6 * stars, sizeof *d);
        int32_t *i = w[level] = room(&in, 3 * stars, sizeof *i);
        roman_event_search(&grid, epochs, mjd, stars, flux, error, d, d + stars, i, d + 2 * stars, d + 3 * stars,
                           d + 4 * stars, d + 5 * stars, i + stars, i + 2 * stars, 1 - level);
    }
    same_doubles(v[0], v[1], 6 * stars);
    must(stars == 0 || memcmp(w[0], w[1], (size_t)(3 * stars) * sizeof *w[0]) == 0, "same counts");
    return close_input(&in);
}
