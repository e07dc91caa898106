#include "finite_source.h"
#include "input.h"
#include "roman_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    int64_t n = count(&in, 20);
    double *u = doubles(&in, n), *out = room(&in, n, sizeof *out);
    for (int64_t i = 0; i < n; i++) u[i] = rarely(&in, 20) ? u[i] : fabs(u[i]);
    double rho = rarely(&in, 4) ? real(&in) : near(&in, 0.05);
    int status = roman_finite_source(n, u, rho, rarely(&in, 4) ? real(&in) : byte(&in) / 255.0, out);
    for (int64_t i = 0; status == ROMAN_OK && i < n; i++) {
        if (u[i] < 1e6 && rho > 1e-9 && rho < 1e6) must(out[i] >= 1 - 1e-6, "magnification of at least one");
    }
    return close_input(&in);
}
