#include "input.h"
#include "nnls.h"
#include "roman_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = open_input(data, size);
    int32_t n = (int32_t)count(&in, 26);
    double *h = doubles(&in, (int64_t)n * n), *c = doubles(&in, n), *x = doubles(&in, n);
    if (!rarely(&in, 4)) { /* a matrix of normal equations with a unit diagonal */
        int64_t rows = 1 + count(&in, 30);
        double *a = doubles(&in, rows * n);
        for (int64_t k = 0; k < rows * n; k++) a[k] = isfinite(a[k]) ? fmod(a[k], 1e3) : 0;
        for (int j = 0; j < n; j++) {
            double norm = 0;
            for (int64_t r = 0; r < rows; r++) norm += a[r * n + j] * a[r * n + j];
            for (int64_t r = 0; r < rows; r++) a[r * n + j] = norm > 1e-100 ? a[r * n + j] / sqrt(norm) : 0;
        }
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                h[i * n + j] = 0;
                for (int64_t r = 0; r < rows; r++) h[i * n + j] += a[r * n + i] * a[r * n + j];
                if (i == j) h[i * n + j] = h[i * n + j] > 0.5;
            }
        }
    }
    int status = roman_nnls(n, h, c, x);
    if (status == ROMAN_OK) {
        for (int i = 0; i < n; i++) must(!(x[i] < 0), "no negative amplitude");
        roman_orthant_log_volume(n, (int32_t)count(&in, n), h, c, x);
    }
    return close_input(&in);
}
