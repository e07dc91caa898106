/* The error of a star among its strongest neighbours, for the fits of joint_fit.c and exposure_errors.c. */
#ifndef ROMAN_LOCAL_ERROR_H
#define ROMAN_LOCAL_ERROR_H

#include <math.h>
#include <stdint.h>

#include "cholesky.h"

/* Puts star and coupling among the `most` strongest, strongest first; returns how many there are. */
static inline int keep_strongest(int most, int count, int32_t star, double coupling, int32_t *who, double *with)
{
    int slot = count < most ? count++ : most;
    for (; slot > 0 && fabs(with[slot - 1]) < fabs(coupling); slot--) {
        if (slot == most) continue;
        with[slot] = with[slot - 1];
        who[slot] = who[slot - 1];
    }
    if (slot == most) return count;
    with[slot] = coupling;
    who[slot] = star;
    return count;
}

/* Variance of a star coupled by `with` to m others of matrix `block`, in units of its own alone; overwrites both. */
static inline double variance_among(int m, int stride, double *block, double *with)
{
    const cholesky_rule rule = {.least = 1e-6, .raise = 1};
    double explained = 0;
    cholesky_factor(rule, m, stride, block);
    cholesky_forward(rule, m, stride, block, with);
    for (int r = 0; r < m; r++) explained += with[r] * with[r];
    return 1.0 / (1.0 - explained > 1e-3 ? 1.0 - explained : 1e-3);
}

#endif
