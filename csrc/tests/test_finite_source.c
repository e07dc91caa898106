/* Finite-source magnification: the closed form at the centre, the limb on the lens, the far field, bad values. */
#include <math.h>

#include "check.h"
#include "finite_source.h"
#include "roman_status.h"

int main(void)
{
    double u[4] = {0, 0.05, 0.0500000001, 80}, a[4];
    CHECK(roman_finite_source(4, u, 0.05, 0, a) == ROMAN_OK);
    CHECK_CLOSE(a[0], sqrt(1 + 4 / 0.0025), 1e-10);
    CHECK_CLOSE(a[1], a[2], 1e-5); /* the slope is infinite there, the value is not */
    CHECK(a[1] > a[2]);
    CHECK_CLOSE(a[3], (80.0 * 80 + 2) / (80 * sqrt(80.0 * 80 + 4)), 1e-12);
    CHECK(roman_finite_source(4, u, 0.05, 0.6, a) == ROMAN_OK);
    CHECK(a[0] > sqrt(1 + 4 / 0.0025));
    CHECK(roman_finite_source(4, u, 0, 0, a) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_finite_source(4, u, 0.1, 1.1, a) == ROMAN_ERR_ARGUMENT);
    /* No source is as large, nor as far away: neither may overflow on the way. */
    double huge[3] = {1e200, 1e300, 1e306};
    CHECK(roman_finite_source(3, huge, 1e305, 0, a) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_finite_source(3, huge, 1e3, 0.5, a) == ROMAN_OK);
    CHECK(a[0] == 1 && a[1] == 1 && a[2] == 1);
    u[2] = NAN;
    CHECK(roman_finite_source(4, u, 0.1, 0, a) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_finite_source(0, u, 0.1, 0, a) == ROMAN_OK);
    return check_summary("test_finite_source");
}
