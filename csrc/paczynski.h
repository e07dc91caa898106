/* Magnification of a point source by a point lens (Paczynski 1986, ApJ 304, 1), A = (u^2 + 2) / (u sqrt(u^2 + 4)), and its
 * derivatives, for every kernel.
 *
 * There are three forms, since rounding differs between them and results must keep their bits: A - 1, which does not
 * cancel far from the lens; A with its derivatives by u; and A of the search's templates, which need no more than
 * single precision. */
#ifndef ROMAN_PACZYNSKI_H
#define ROMAN_PACZYNSKI_H

#include <math.h>

/* A - 1 at x = u^2 > 0, and its derivative by x. */
static inline double paczynski_excess(double x, double *slope)
{
    double s = sqrt(x * (x + 4.0)), z = x + 2.0 + s;
    double q = 1.0 / (z * s), r = q * z; /* r = 1 / s */
    *slope = -4.0 * r * r * r;
    return 4.0 * q;
}

/* A, dA/du and d2A/du2 at u > 0. */
static inline void paczynski_by_u(double u, double a[3])
{
    double s = u * u + 4, root = sqrt(s);
    a[0] = (u * u + 2) / (u * root);
    a[1] = -8 / (u * u * s * root);
    a[2] = a[1] * (-2 / u - 3 * u / s);
}

/* A at u^2 = q: [1 - h^-2]^-1/2 with h = q / 2 + 1, where 1 - h^-2 = (h - 1)(h + 1) / h^2. */
static inline double paczynski_template(double q)
{
    double h = fma(q, 0.5, 1.0);
    return h / sqrt((h - 1.0) * (h + 1.0));
}

static inline float paczynski_templatef(float q)
{
    float h = fmaf(q, 0.5f, 1.0f);
    return h / sqrtf((h - 1.0f) * (h + 1.0f));
}

#endif
